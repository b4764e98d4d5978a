import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * A small hand for tests: one JVM that produces and fetches as standard input tells it.
 *
 * One request a line, words apart by one blank, data in Base64 ("-" is null), one answer a line:
 *   produce BOOTSTRAP TOPIC KEY VALUE [NAME:VALUE ...]  ->  "ok OFFSET"
 *   fetch BOOTSTRAP TOPIC FROM COUNT MILLISECONDS       ->  one "record OFFSET KEY VALUE
 *       NAME:VALUE ..." each, until COUNT have come or MILLISECONDS have passed, then "end"
 * Any failure answers "error TEXT".
 */
public final class Records {
  private static final Base64.Encoder ENCODE = Base64.getEncoder();

  public static void main(String[] args) throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] words = line.split(" ");
      try {
        if (words[0].equals("produce")) {
          produce(words);
        } else {
          fetch(words);
        }
      } catch (Exception e) {
        System.out.println("error " + e.toString().replace('\n', ' '));
      }
      System.out.flush();
    }
  }

  private static void produce(String[] words) throws Exception {
    ProducerRecord<byte[], byte[]> record =
        new ProducerRecord<>(words[2], 0, decode(words[3]), decode(words[4]));
    for (int i = 5; i < words.length; i++) {
      String[] pair = words[i].split(":", -1);  // An empty value counts.
      record.headers().add(new String(decode(pair[0]), StandardCharsets.UTF_8), decode(pair[1]));
    }
    Map<String, Object> config = Map.of("bootstrap.servers", words[1], "linger.ms", 0,
        "delivery.timeout.ms", 15_000, "request.timeout.ms", 5_000, "max.block.ms", 15_000);
    try (KafkaProducer<byte[], byte[]> producer =
        new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
      System.out.println("ok " + producer.send(record).get().offset());
    }
  }

  private static void fetch(String[] words) {
    TopicPartition partition = new TopicPartition(words[2], 0);
    int missing = Integer.parseInt(words[4]);
    long deadline = System.currentTimeMillis() + Long.parseLong(words[5]);
    try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(
        Map.of("bootstrap.servers", words[1], "auto.offset.reset", "none", "fetch.max.wait.ms", 50),
        new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
      consumer.assign(List.of(partition));
      consumer.seek(partition, Long.parseLong(words[3]));
      while (missing > 0 && System.currentTimeMillis() < deadline) {
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(50))) {
          missing--;
          StringBuilder answer = new StringBuilder("record " + record.offset()
              + " " + encode(record.key()) + " " + encode(record.value()));
          for (Header header : record.headers()) {
            answer.append(' ').append(encode(header.key().getBytes(StandardCharsets.UTF_8)))
                .append(':').append(encode(header.value()));
          }
          System.out.println(answer);
        }
      }
    }
    System.out.println("end");
  }

  private static byte[] decode(String text) {
    return text.equals("-") ? null : Base64.getDecoder().decode(text);
  }

  private static String encode(byte[] data) {
    return data == null ? "-" : ENCODE.encodeToString(data);
  }
}
