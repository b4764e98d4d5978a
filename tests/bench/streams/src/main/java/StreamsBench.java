import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The job of Concordat's writer, done by Kafka Streams with exactly-once v2 and a state store, and
 * measured by closed-loop clients: each sends its next command when the event of its last one is
 * visible to a read_committed consumer.
 *
 * Prints one JSON document on standard output; what it does meanwhile goes to standard error.
 */
public final class StreamsBench {
  private static final int SERVERS = 10_000;
  private static final int COMMAND_BYTES = 200;

  public static void main(String[] args) throws Exception {
    Options options = Options.parse(args);
    String name = "concordat-bench-" + Long.toString(System.currentTimeMillis(), 36);
    String input = name + "-commands";
    String output = name + "-events";
    Path state = Files.createTempDirectory(name);
    StringBuilder results = new StringBuilder();

    try (Admin admin = Admin.create(Map.of("bootstrap.servers", options.bootstrap()))) {
      // An event log is kept for ever. Whether each batch is forced to the disk is an option, since
      // that costs more than all the rest; both sides of a comparison must choose the same.
      Map<String, String> log =
          new HashMap<>(Map.of("retention.ms", "-1", "retention.bytes", "-1"));
      if (options.flushMessages() > 0) {
        log.put("flush.messages", Integer.toString(options.flushMessages()));
      }
      admin.createTopics(List.of(
          new NewTopic(input, 1, (short) 1), new NewTopic(output, 1, (short) 1).configs(log)))
          .all().get(30, TimeUnit.SECONDS);
      try (KafkaStreams streams =
          new KafkaStreams(topology(input, output, options), config(name, state, options))) {
        CountDownLatch running = new CountDownLatch(1);
        streams.setStateListener((now, before) -> {
          if (now == KafkaStreams.State.RUNNING) {
            running.countDown();
          }
        });
        streams.setUncaughtExceptionHandler(error -> {
          error.printStackTrace();
          Runtime.getRuntime().halt(1);
          return null;
        });
        streams.start();
        if (!running.await(60, TimeUnit.SECONDS)) {
          throw new IllegalStateException(
              "Kafka Streams was not running after 60 s; see the log on standard error");
        }
        try (Clients clients = new Clients(options.bootstrap(), input, output)) {
          for (int count : options.clients()) {
            String result = clients.run(count, options.warmupSeconds(), options.seconds());
            System.err.println(result);
            results.append(results.isEmpty() ? "" : ",").append("\n    ").append(result);
          }
        }
      } finally {
        List<String> ours = admin.listTopics().names().get().stream()
            .filter(topic -> topic.startsWith(name)).toList();
        admin.deleteTopics(ours).all().get(30, TimeUnit.SECONDS);
        try (Stream<Path> files = Files.walk(state)) {
          files.sorted(Comparator.reverseOrder()).forEach(file -> file.toFile().delete());
        }
      }
    }
    System.out.println("{\"system\": \"kafka-streams-4.3.1 exactly_once_v2\", \"options\": "
        + options.json() + ", \"results\": [" + results + "\n  ]}");
  }

  private static Topology topology(String input, String output, Options options) {
    StoreBuilder<KeyValueStore<byte[], byte[]>> store = Stores.keyValueStoreBuilder(
        Stores.persistentKeyValueStore(Decider.STORE), Serdes.ByteArray(), Serdes.ByteArray());
    store = options.cacheBytes() > 0 ? store.withCachingEnabled() : store.withCachingDisabled();
    store = options.changelog()
        ? store.withLoggingEnabled(Map.of()) : store.withLoggingDisabled();
    return new Topology()
        .addSource("commands", new ByteArrayDeserializer(), new ByteArrayDeserializer(), input)
        .addProcessor("decide", Decider::new, "commands")
        .addStateStore(store, "decide")
        .addSink("events", output, new ByteArraySerializer(), new ByteArraySerializer(), "decide");
  }

  private static Properties config(String name, Path state, Options options) {
    Properties config = new Properties();
    config.put(StreamsConfig.APPLICATION_ID_CONFIG, name);
    config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.bootstrap());
    config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    config.put(StreamsConfig.STATE_DIR_CONFIG, state.toString());
    // One partition is one task, and a task is run by one thread.
    config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
    config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, options.cacheBytes());
    if (options.commitIntervalMs() >= 0) {
      config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, options.commitIntervalMs());
    }
    // While all clients wait for a commit no command comes, and the thread would sleep in poll()
    // for this long, by default 100 ms, before it looks at the commit interval again.
    config.put(StreamsConfig.POLL_MS_CONFIG, options.pollMs());
    config.put(StreamsConfig.producerPrefix("linger.ms"), options.lingerMs());
    config.put(StreamsConfig.producerPrefix("batch.size"), options.batchBytes());
    // A full buffer would make the one thread wait for the broker in the midst of its work.
    config.put(StreamsConfig.producerPrefix("buffer.memory"), 64L << 20);
    config.put(StreamsConfig.mainConsumerPrefix("max.poll.records"), 10_000);
    config.put(StreamsConfig.mainConsumerPrefix("auto.offset.reset"), "earliest");
    config.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 20_000);
    return config;
  }

  /** What the command line asks for. */
  record Options(String bootstrap, List<Integer> clients, int seconds, int warmupSeconds,
      int commitIntervalMs, int lingerMs, int batchBytes, long cacheBytes, boolean changelog,
      int pollMs, int flushMessages) {

    static Options parse(String[] args) {
      Map<String, String> given = new HashMap<>(Map.of(
          "--clients", "1,16,128,8192", "--seconds", "10", "--warmup", "5",
          "--commit-interval-ms", "20", "--linger-ms", "5", "--batch-bytes", "524288",
          "--cache-bytes", "0", "--changelog", "on", "--poll-ms", "1"));
      given.put("--flush-messages", "0");
      for (int i = 0; i < args.length; i += 2) {
        if (i + 1 == args.length || !given.containsKey(args[i]) && !args[i].equals("--bootstrap")) {
          fail("found " + args[i] + "; expected --bootstrap HOST:PORT or one of " + given.keySet()
              + ", each followed by its value");
        }
        given.put(args[i], args[i + 1]);
      }
      if (!given.containsKey("--bootstrap")) {
        fail("found no --bootstrap; expected the address of a broker, HOST:PORT");
      }
      try {
        String interval = given.get("--commit-interval-ms");
        return new Options(given.get("--bootstrap"),
            Arrays.stream(given.get("--clients").split(",")).map(Integer::valueOf).toList(),
            Integer.parseInt(given.get("--seconds")), Integer.parseInt(given.get("--warmup")),
            interval.equals("default") ? -1 : Integer.parseInt(interval),
            Integer.parseInt(given.get("--linger-ms")),
            Integer.parseInt(given.get("--batch-bytes")),
            Long.parseLong(given.get("--cache-bytes")), given.get("--changelog").equals("on"),
            Integer.parseInt(given.get("--poll-ms")),
            Integer.parseInt(given.get("--flush-messages")));
      } catch (NumberFormatException e) {
        fail("found a value that is no number (" + e.getMessage() + "); see README.md");
        return null;
      }
    }

    private static void fail(String text) {
      System.err.println(text);
      System.exit(2);
    }

    String json() {
      return "{\"commit_interval_ms\": "
          + (commitIntervalMs < 0 ? "\"default\"" : Integer.toString(commitIntervalMs))
          + ", \"linger_ms\": " + lingerMs + ", \"batch_bytes\": " + batchBytes
          + ", \"cache_bytes\": " + cacheBytes + ", \"changelog\": " + changelog
          + ", \"poll_ms\": " + pollMs + ", \"flush_messages\": " + flushMessages
          + ", \"seconds\": " + seconds + ", \"warmup_seconds\": " + warmupSeconds + "}";
    }
  }

  /**
   * N closed-loop clients, driven by one thread: a client is a slot with at most one command under
   * way. The thread that sees an event sends that client's next command at once.
   */
  static final class Clients implements AutoCloseable {
    private final KafkaProducer<byte[], byte[]> producer;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final String input;
    private final byte[] value = new byte[COMMAND_BYTES];
    private final byte[][] servers = new byte[SERVERS][];
    private long commands;
    private long nextSequence;

    Clients(String bootstrap, String input, String output) {
      this.input = input;
      producer = new KafkaProducer<>(Map.of("bootstrap.servers", bootstrap, "linger.ms", 0,
          "batch.size", 65536, "buffer.memory", 64L << 20),
          new ByteArraySerializer(), new ByteArraySerializer());
      consumer = new KafkaConsumer<>(Map.of("bootstrap.servers", bootstrap,
          "isolation.level", "read_committed", "auto.offset.reset", "earliest",
          "max.poll.records", 10_000), new ByteArrayDeserializer(), new ByteArrayDeserializer());
      TopicPartition partition = new TopicPartition(output, 0);
      consumer.assign(List.of(partition));
      consumer.seekToBeginning(List.of(partition));
      for (int i = 0; i < SERVERS; i++) {
        servers[i] = ascii("pools/p1/racks/r%02d/servers/s%05d".formatted(i % 40, i));
      }
      Arrays.fill(value, (byte) 'v');
    }

    String run(int count, int warmupSeconds, int seconds) {
      long[] sent = new long[count];
      byte[][] ids = new byte[count][];
      long[] latencies = new long[1 << 16];
      int measured = 0;
      int waiting = count;
      for (int slot = 0; slot < count; slot++) {
        send(slot, sent, ids);
      }
      long begin = System.nanoTime() + TimeUnit.SECONDS.toNanos(warmupSeconds);
      long end = begin + TimeUnit.SECONDS.toNanos(seconds);
      long silentSince = System.nanoTime();
      while (waiting > 0) {
        var records = consumer.poll(Duration.ofMillis(500));
        long now = System.nanoTime();
        if (records.isEmpty() && now - silentSince > TimeUnit.SECONDS.toNanos(60)) {
          throw new IllegalStateException("no event for 60 s while " + waiting + " clients wait");
        }
        for (ConsumerRecord<byte[], byte[]> record : records) {
          silentSince = now;
          int slot = complete(record, ids);
          if (now >= begin && now < end) {
            if (measured == latencies.length) {
              latencies = Arrays.copyOf(latencies, measured * 2);
            }
            latencies[measured++] = now - sent[slot];
          }
          if (now < end) {
            send(slot, sent, ids);
          } else {
            waiting--;
          }
        }
      }
      Arrays.sort(latencies, 0, measured);
      return ("{\"clients\": %d, \"throughput_per_second\": %.0f, \"latency_p50_ms\": %.2f, "
          + "\"latency_p99_ms\": %.2f, \"commands\": %d}")
          .formatted(count, measured / (double) seconds, at(latencies, measured, 0.50),
              at(latencies, measured, 0.99), measured);
    }

    private void send(int slot, long[] sent, byte[][] ids) {
      ids[slot] = ascii("%08x%024x".formatted(slot, commands));
      byte[] server = servers[(int) (commands * 7919 % SERVERS)];
      commands++;
      ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(input, 0, server, value);
      record.headers().add(Decider.COMMAND_ID, ids[slot]);
      sent[slot] = System.nanoTime();
      producer.send(record, (metadata, error) -> {
        if (error != null) {
          error.printStackTrace();
          Runtime.getRuntime().halt(1);
        }
      });
    }

    /** The client whose command this event answers. Every event must answer one, once, in order. */
    private int complete(ConsumerRecord<byte[], byte[]> event, byte[][] ids) {
      byte[] id = event.headers().lastHeader(Decider.COMMAND_ID).value();
      int slot = Integer.parseInt(new String(id, 0, 8, StandardCharsets.US_ASCII), 16);
      long sequence = Long.parseLong(new String(
          event.headers().lastHeader("ce_sequence").value(), StandardCharsets.US_ASCII));
      if (!Arrays.equals(id, ids[slot]) || sequence != nextSequence) {
        throw new IllegalStateException("found event " + sequence + " of command " + new String(id)
            + "; expected event " + nextSequence + " of a command under way");
      }
      nextSequence++;
      return slot;
    }

    private static double at(long[] sorted, int count, double share) {
      return count == 0 ? -1 : sorted[(int) Math.min(count - 1, (long) (count * share))] / 1e6;
    }

    @Override
    public void close() {
      producer.close();
      consumer.close();
    }
  }

  static byte[] ascii(String text) {
    return text.getBytes(StandardCharsets.US_ASCII);
  }
}
