import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.HexFormat;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * One command in, one event out: refuses a command seen before, updates the server's row, and emits
 * an event with the headers and the SHA-256 link of Concordat's log.
 *
 * The link of the last event is kept in memory only. Concordat stores it with every event; leaving
 * that out spares Kafka Streams a third put and changelog record a command.
 */
final class Decider implements Processor<byte[], byte[], byte[], byte[]> {
  static final String STORE = "servers";
  static final String COMMAND_ID = "ce_commandid";

  private static final int EVENT_BYTES = 200;
  private static final HexFormat HEX = HexFormat.of();
  private static final DateTimeFormatter TIME =
      DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'").withZone(ZoneOffset.UTC);

  /** The covered headers in the order of their names, as the link wants them; null: per event. */
  private static final String[] NAMES = {
      "ce_actor", "ce_commanddigest", COMMAND_ID, "ce_correlationid", "ce_dataschema", "ce_parent",
      "ce_sequence", "ce_source", "ce_specversion", "ce_subject", "ce_time", "ce_type", "ce_writer",
      "content-type"};
  private static final byte[][] NAME_BYTES = new byte[NAMES.length][];
  private static final byte[] ACTOR = StreamsBench.ascii("users/operator@example.org");
  private static final byte[] SCHEMA =
      StreamsBench.ascii("urn:concordat:schema:concordat.inventory.v1.Event");
  private static final byte[] SOURCE = StreamsBench.ascii("/sites/paris/inventory");
  private static final byte[] SPEC_VERSION = StreamsBench.ascii("1.0");
  private static final byte[] TYPE = StreamsBench.ascii("concordat.inventory.v1.ServerCordoned");
  private static final byte[] WRITER = StreamsBench.ascii("0123456789abcdef0123456789abcdef.17");
  private static final byte[] CONTENT_TYPE = StreamsBench.ascii("application/protobuf");

  static {
    for (int i = 0; i < NAMES.length; i++) {
      NAME_BYTES[i] = StreamsBench.ascii(NAMES[i]);
    }
  }

  private final MessageDigest sha256 = newSha256();
  private final ByteBuffer covered = ByteBuffer.allocate(8192);
  private ProcessorContext<byte[], byte[]> context;
  private KeyValueStore<byte[], byte[]> store;
  private byte[] parent = StreamsBench.ascii("0".repeat(64));
  private long sequence;

  @Override
  public void init(ProcessorContext<byte[], byte[]> context) {
    this.context = context;
    this.store = context.getStateStore(STORE);
  }

  @Override
  public void process(Record<byte[], byte[]> command) {
    byte[] id = command.headers().lastHeader(COMMAND_ID).value();
    byte[] seenKey = prefixed('c', id);
    if (store.get(seenKey) != null) {
      return;
    }
    byte[] rowKey = prefixed('r', command.key());
    byte[] row = store.get(rowKey);
    byte[] event = evolve(row, command.value());
    byte[] sequenceText = StreamsBench.ascii(Long.toString(sequence));

    byte[][] values = {
        ACTOR, hex(sha256.digest(command.value())), id, id, SCHEMA, parent, sequenceText, SOURCE,
        SPEC_VERSION, command.key(), StreamsBench.ascii(TIME.format(Instant.now())), TYPE, WRITER,
        CONTENT_TYPE};
    byte[] link = link(values, event);
    RecordHeaders headers = new RecordHeaders();
    headers.add("ce_id", link);
    for (int i = 0; i < NAMES.length; i++) {
      headers.add(NAMES[i], values[i]);
    }
    store.put(seenKey, sequenceText);
    store.put(rowKey, event);
    parent = link;
    sequence++;
    context.forward(new Record<>(command.key(), event, command.timestamp(), headers));
  }

  /** The new row: a counter that goes on from the old one, and the command's bytes. */
  private static byte[] evolve(byte[] row, byte[] command) {
    byte[] next = new byte[EVENT_BYTES];
    System.arraycopy(command, 8, next, 8, Math.min(command.length, EVENT_BYTES) - 8);
    long version = row == null ? 0 : ByteBuffer.wrap(row).getLong();
    ByteBuffer.wrap(next).putLong(version + 1);
    return next;
  }

  private byte[] link(byte[][] values, byte[] data) {
    covered.clear();
    for (int i = 0; i < values.length; i++) {
      covered.putInt(NAME_BYTES[i].length).put(NAME_BYTES[i]);
      covered.putInt(values[i].length).put(values[i]);
    }
    covered.putInt(data.length).put(data);
    sha256.update(covered.array(), 0, covered.position());
    return hex(sha256.digest());
  }

  private static byte[] hex(byte[] data) {
    return StreamsBench.ascii(HEX.formatHex(data));
  }

  private static byte[] prefixed(char kind, byte[] key) {
    byte[] prefixed = new byte[key.length + 1];
    prefixed[0] = (byte) kind;
    System.arraycopy(key, 0, prefixed, 1, key.length);
    return prefixed;
  }

  private static MessageDigest newSha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }
}
