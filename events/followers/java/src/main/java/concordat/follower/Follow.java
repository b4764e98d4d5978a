package concordat.follower;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Follows one Concordat stream with an ordinary Kafka client. Nothing here is shared with the
 * services: Chain is the whole rule.
 */
public final class Follow {
    private static final Set<String> VALUES =
        Set.of("--vectors", "--bootstrap", "--topic", "--stream", "--state");
    private static final Set<String> FLAGS = Set.of("--mirrored", "--until-end", "--json", "--all");
    private static final String USAGE = """
        usage: follower.jar --bootstrap HOST:PORT --topic TOPIC [--stream STREAM] [--mirrored]
                            [--until-end] [--json] [--all] [--state FILE]
               follower.jar --vectors FILE [--all]
        The options are described in docs/subscribing.md.""";

    private final Map<String, String> values = new HashMap<>();
    private final Set<String> flags = new HashSet<>();
    private volatile boolean stopped;

    public static void main(String[] arguments) {
        int code;
        try {
            code = new Follow().run(arguments);
        } catch (FollowException error) {
            Output.alarm(error.getMessage());
            code = 1;
        }
        Output.flush();
        // A signal's own exit code would hide the outcome, so the process ends here either way.
        Runtime.getRuntime().halt(code);
    }

    private int run(String[] arguments) {
        for (int i = 0; i < arguments.length; i++) {
            String name = arguments[i];
            if (name.equals("--help") || name.equals("-h")) {
                System.out.println(USAGE);
                return 0;
            } else if (FLAGS.contains(name)) {
                flags.add(name);
            } else if (VALUES.contains(name) && i + 1 < arguments.length) {
                values.put(name, arguments[++i]);
            } else {
                throw new FollowException("Found the argument " + name + "; expected an option"
                    + (VALUES.contains(name) ? " with its value" : "") + ".\n" + USAGE);
            }
        }
        if (values.containsKey("--vectors")) {
            return Vectors.run(values.get("--vectors"), flags.contains("--all")) ? 0 : 1;
        }
        if (!values.containsKey("--bootstrap") || !values.containsKey("--topic")) {
            throw new FollowException("Found no --bootstrap or no --topic; expected both, or --vectors FILE.");
        }
        return follow().state().equals("ok") ? 0 : 7;
    }

    private Chain follow() {
        String topic = values.get("--topic");
        String stream = values.getOrDefault("--stream", topic);
        Chain chain = new Chain(sourceOf(stream), flags.contains("--mirrored"), Chain.LIMIT);
        StateFile state = values.containsKey("--state")
            ? new StateFile(Path.of(values.get("--state")), stream, topic) : null;
        OptionalLong start = state == null ? OptionalLong.empty() : state.load(chain);
        Output output = new Output(flags.contains("--all"), flags.contains("--json"));
        if (chain.damaged) {
            output.summary(chain);
            return chain;
        }

        Properties settings = new Properties();
        settings.put("bootstrap.servers", values.get("--bootstrap"));
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "none");
        // The same for every reader, whatever its client's default: see what the log holds.
        settings.put("isolation.level", "read_uncommitted");
        settings.put("allow.auto.create.topics", "false");
        settings.put("default.api.timeout.ms", "15000");
        settings.put("request.timeout.ms", "10000");
        settings.put("key.deserializer", ByteArrayDeserializer.class.getName());
        settings.put("value.deserializer", ByteArrayDeserializer.class.getName());
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings)) {
            stopOnSignal(consumer);
            try {
                read(consumer, partition, chain, state, start, output);
            } catch (WakeupException stop) {
                // Asked to stop before the first record.
                output.summary(chain);
            }
        } catch (KafkaException error) {
            throw new FollowException("Found the Kafka error " + error.getMessage() + "; expected to read "
                + topic + " at " + values.get("--bootstrap") + ". Check the address and the brokers.");
        }
        return chain;
    }

    private void read(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition, Chain chain,
            StateFile state, OptionalLong start, Output output) {
        List<PartitionInfo> partitions = consumer.partitionsFor(partition.topic());
        if (partitions == null || partitions.isEmpty()) {
            throw new FollowException("Found no topic " + partition.topic()
                + "; expected a stream. Check the name, and that you may read it.");
        }
        if (partitions.size() != 1) {
            throw new FollowException("Found " + partitions.size() + " partitions in " + partition.topic()
                + "; expected 1, because a stream is one partition. Check that the topic is a stream.");
        }
        consumer.assign(List.of(partition));
        long first = consumer.beginningOffsets(List.of(partition)).get(partition);
        long end = consumer.endOffsets(List.of(partition)).get(partition);
        long offset = checkStart(consumer, partition, chain, start, first, end);
        consumer.seek(partition, offset);
        long saved = System.nanoTime();
        while (!stopped && !chain.damaged && !(flags.contains("--until-end") && offset >= end)) {
            ConsumerRecords<byte[], byte[]> records;
            try {
                records = consumer.poll(Duration.ofMillis(200));
            } catch (WakeupException stop) {
                break;
            }
            for (ConsumerRecord<byte[], byte[]> record : records) {
                if (chain.damaged || flags.contains("--until-end") && record.offset() >= end) {
                    break;
                }
                List<Chain.Header> headers = headers(record);
                String outcome = chain.add(headers, record.value(), record.offset());
                output.record(outcome, headers, record.value(), record.offset());
            }
            // The position also passes the markers of transactions, which are never delivered.
            offset = consumer.position(partition);
            if (flags.contains("--until-end")) {
                offset = Math.min(offset, end);
            }
            // What was decided goes out before it is remembered: a stop in between repeats lines,
            // and loses none.
            Output.mustFlush();
            if (state != null && System.nanoTime() - saved > 1_000_000_000L) {
                state.save(chain, offset);
                saved = System.nanoTime();
            }
        }
        output.summary(chain);
        Output.mustFlush();
        if (state != null) {
            state.save(chain, offset);
        }
    }

    /** The offset to read first, once it is sure that the log is the one the state came from. */
    private long checkStart(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition, Chain chain,
            OptionalLong start, long first, long end) {
        if (start.isEmpty()) {
            if (first > 0) {
                throw new FollowException("Found " + partition.topic() + " beginning at offset " + first
                    + "; expected 0, because the chain is followed from its first record. Follow a replica "
                    + "that holds the whole stream, or go on from a state file.");
            }
            return 0;
        }
        // Without a head to look up, only the whole log read so far can vouch for the state.
        boolean held = start.getAsLong() <= end
            && (chain.head.offset() >= 0 ? first <= chain.head.offset() : first == 0);
        if (held && chain.head.offset() >= 0) {
            held = holdsHead(consumer, partition, chain.head);
        }
        if (!held) {
            throw new FollowException("Found " + partition.topic() + " holding offsets " + first + " to "
                + (end - 1) + " without the record " + chain.head.link() + " at offset " + chain.head.offset()
                + "; expected the head that " + values.get("--state") + " remembers, and offset "
                + start.getAsLong() + " as the next. The topic was cut or made anew: delete the state file "
                + "to read the stream from the beginning.");
        }
        return start.getAsLong();
    }

    private boolean holdsHead(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition, Chain.Head head) {
        consumer.seek(partition, head.offset());
        long deadline = System.nanoTime() + 30_000_000_000L;
        while (System.nanoTime() < deadline) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                return record.offset() == head.offset()
                    && Chain.link(headers(record), record.value()).equals(head.link());
            }
            if (consumer.position(partition) > head.offset()) {
                return false;
            }
        }
        throw new FollowException("Found no answer when reading " + partition.topic() + " at offset "
            + head.offset() + " (30 s passed); expected a record. Check the brokers and run again.");
    }

    /** The headers; when the client cannot decode a name, one header that says so. */
    private static List<Chain.Header> headers(ConsumerRecord<byte[], byte[]> record) {
        List<Chain.Header> headers = new ArrayList<>();
        record.headers().forEach(header -> headers.add(new Chain.Header(header.key(), header.value())));
        if (headers.stream().anyMatch(header -> header.name().contains(Chain.UNREADABLE))) {
            return List.of(new Chain.Header(Chain.UNREADABLE, null));
        }
        return headers;
    }

    private void stopOnSignal(KafkaConsumer<?, ?> consumer) {
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stopped = true;
            consumer.wakeup();
            try {
                // The main thread ends the process, with the outcome as exit code.
                main.join();
            } catch (InterruptedException over) {
                Thread.currentThread().interrupt();
            }
        }));
    }

    static String sourceOf(String stream) {
        String[] parts = stream.split("\\.", -1);
        if (parts.length != 3 || !parts[2].equals("events") || parts[0].isEmpty() || parts[1].isEmpty()) {
            throw new FollowException("Found the stream name '" + stream + "'; expected <site>.<service>.events. "
                + "When the topic has another name, give the stream's with --stream.");
        }
        return "/sites/" + parts[0] + "/" + parts[1];
    }
}
