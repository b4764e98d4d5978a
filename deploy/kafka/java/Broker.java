import java.io.File;
import java.io.FileInputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import kafka.server.KafkaConfig;
import kafka.server.KafkaRaftServer;
import kafka.tools.StorageTool;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.utils.Time;

/**
 * One KRaft broker and controller in this JVM, from an empty folder to topics that serve.
 *
 * Formatting, serving and creating topics share one JVM, because starting a second and a third one
 * would take longer than the work itself.
 *
 * Arguments: server.properties, cluster id, address of the internal listener, then one topic each:
 * "name setting=value setting=value ...". Prints READY when every topic has a leader.
 */
public final class Broker {
  public static void main(String[] args) throws Exception {
    String file = args[0];
    Properties properties = new Properties();
    try (FileInputStream in = new FileInputStream(file)) {
      properties.load(in);
    }
    if (!new File(properties.getProperty("log.dirs"), "meta.properties").exists()) {
      int code = StorageTool.execute(
          new String[] {"format", "--cluster-id", args[1], "--config", file}, System.err);
      if (code != 0) {
        System.exit(code);
      }
    }

    KafkaRaftServer server = new KafkaRaftServer(new KafkaConfig(properties, false), Time.SYSTEM);
    Runtime.getRuntime().addShutdownHook(new Thread(server::shutdown, "shutdown"));
    server.startup();

    List<Topics.Spec> specs = new ArrayList<>();
    for (int i = 3; i < args.length; i++) {
      specs.add(Topics.Spec.parse(args[i]));
    }
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[2]))) {
      // A topic that exists keeps its settings: a restart must not undo what a test altered.
      Topics.createMissing(admin, specs);
    }
    System.out.println("READY");
    System.out.flush();
    server.awaitShutdown();
  }
}
