-- The ways to reserve in PostgreSQL that tests/bench/reserve.py measures. In all of them a row is a
-- reservation of a server, and `EXCLUDE USING gist` holds that no server has two at one time. Each
-- is one function: one round trip, one transaction, its statements prepared once a session.
-- `from_id` is a random server at which the search begins, so that clients do not meet at one.
CREATE EXTENSION btree_gist;

CREATE TABLE server (id int PRIMARY KEY, model text NOT NULL);
INSERT INTO server SELECT i, 'models/m' FROM generate_series(0, :servers - 1) i;
CREATE INDEX ON server (model, id);

CREATE TABLE booking (server int, starts int, ends int);
\copy booking FROM 'bookings.tsv'

-- Time as a range of time stamps, as most would write it.
CREATE TABLE by_time (
  id bigint GENERATED ALWAYS AS IDENTITY, server int NOT NULL, during tstzrange NOT NULL, contract int NOT NULL,
  EXCLUDE USING gist (server WITH =, during WITH &&));
INSERT INTO by_time (server, during, contract)
  SELECT server, tstzrange(timestamptz 'epoch' + starts * interval '1 minute',
                           timestamptz 'epoch' + ends * interval '1 minute'), starts % 100 FROM booking;

-- Time as minutes, which compare faster.
CREATE TABLE by_minute (
  id bigint GENERATED ALWAYS AS IDENTITY, server int NOT NULL, during int8range NOT NULL, contract int NOT NULL,
  EXCLUDE USING gist (server WITH =, during WITH &&));
INSERT INTO by_minute (server, during, contract) SELECT server, int8range(starts, ends), starts % 100 FROM booking;

-- The same, with a second index that finds a server's last reservation before a time.
CREATE TABLE by_btree (
  id bigint GENERATED ALWAYS AS IDENTITY, server int NOT NULL, during int8range NOT NULL, contract int NOT NULL,
  EXCLUDE USING gist (server WITH =, during WITH &&));
INSERT INTO by_btree (server, during, contract) SELECT server, int8range(starts, ends), starts % 100 FROM booking;
CREATE INDEX ON by_btree (server, lower(during), upper(during));
VACUUM ANALYZE;

-- The lowest free server, as Concordat chooses.
CREATE FUNCTION lowest_free(starts int, minutes int, from_id int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  wanted tstzrange := tstzrange(timestamptz 'epoch' + starts * interval '1 minute',
                                timestamptz 'epoch' + (starts + minutes) * interval '1 minute');
  reservation bigint;
BEGIN
  LOOP
    BEGIN
      INSERT INTO by_time (server, during, contract)
        SELECT s.id, wanted, starts % 100 FROM server s
        WHERE s.model = 'models/m'
          AND NOT EXISTS (SELECT 1 FROM by_time b WHERE b.server = s.id AND b.during && wanted)
        ORDER BY s.id LIMIT 1 RETURNING id INTO reservation;
      RETURN reservation;
    EXCEPTION WHEN exclusion_violation THEN NULL;  -- another client was faster: look again
    END;
  END LOOP;
END $$;

-- A free server, by the index of the constraint.
CREATE FUNCTION any_free(starts int, minutes int, from_id int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  wanted int8range := int8range(starts, starts + minutes);
  reservation bigint;
BEGIN
  LOOP
    BEGIN
      INSERT INTO by_minute (server, during, contract)
        SELECT s.id, wanted, starts % 100 FROM server s
        WHERE s.model = 'models/m' AND s.id >= from_id
          AND NOT EXISTS (SELECT 1 FROM by_minute b WHERE b.server = s.id AND b.during && wanted)
        ORDER BY s.id LIMIT 1 RETURNING id INTO reservation;
      RETURN reservation;
    EXCEPTION WHEN exclusion_violation THEN NULL;
    END;
  END LOOP;
END $$;

-- A free server, by the second index; the constraint only checks.
CREATE FUNCTION any_free_btree(starts int, minutes int, from_id int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  reservation bigint;
BEGIN
  LOOP
    BEGIN
      INSERT INTO by_btree (server, during, contract)
        SELECT s.id, int8range(starts, starts + minutes), starts % 100 FROM server s
        WHERE s.model = 'models/m' AND s.id >= from_id
          AND coalesce((SELECT upper(b.during) FROM by_btree b
                        WHERE b.server = s.id AND lower(b.during) < starts + minutes
                        ORDER BY lower(b.during) DESC LIMIT 1), 0) <= starts
        ORDER BY s.id LIMIT 1 RETURNING id INTO reservation;
      RETURN reservation;
    EXCEPTION WHEN exclusion_violation THEN NULL;
    END;
  END LOOP;
END $$;

-- The same without a block for the exception: whoever looks at a server locks it, others pass it by.
-- What was committed between the look and the lock is a conflict: it looks again, ten times at most.
CREATE FUNCTION skip_locked(starts int, minutes int, from_id int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  reservation bigint;
BEGIN
  FOR look IN 1..10 LOOP
    INSERT INTO by_btree (server, during, contract)
      SELECT found.id, int8range(starts, starts + minutes), starts % 100 FROM (
        SELECT s.id FROM server s
        WHERE s.model = 'models/m' AND s.id >= from_id
          AND coalesce((SELECT upper(b.during) FROM by_btree b
                        WHERE b.server = s.id AND lower(b.during) < starts + minutes
                        ORDER BY lower(b.during) DESC LIMIT 1), 0) <= starts
        ORDER BY s.id LIMIT 1 FOR UPDATE OF s SKIP LOCKED) found
      ON CONFLICT DO NOTHING RETURNING id INTO reservation;
    EXIT WHEN reservation IS NOT NULL;
  END LOOP;
  RETURN reservation;
END $$;

-- No look at all: one server after the other until the constraint lets it in.
CREATE FUNCTION on_conflict(starts int, minutes int, from_id int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  tried int := from_id;
  reservation bigint;
BEGIN
  LOOP
    INSERT INTO by_minute (server, during, contract)
      VALUES (tried, int8range(starts, starts + minutes), starts % 100)
      ON CONFLICT DO NOTHING RETURNING id INTO reservation;
    IF reservation IS NOT NULL THEN RETURN reservation; END IF;
    tried := tried + 1;
  END LOOP;
END $$;
