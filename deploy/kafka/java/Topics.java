import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/**
 * Topics: create, alter, delete, describe; one JVM a call, many topics a call.
 *
 * Arguments: bootstrap, action, then one topic each: "name setting=value setting=value ...".
 * Each action returns when the broker shows its effect, so that the caller need not wait again.
 */
public final class Topics {
  private static final long TIMEOUT_MS = 30_000;

  /** A topic's name and the settings asked for. */
  record Spec(String name, Map<String, String> settings) {
    static Spec parse(String text) {
      String[] words = text.trim().split(" +");
      Map<String, String> settings = new HashMap<>();
      for (int i = 1; i < words.length; i++) {
        int equals = words[i].indexOf('=');
        settings.put(words[i].substring(0, equals), words[i].substring(equals + 1));
      }
      return new Spec(words[0], settings);
    }
  }

  public static void main(String[] args) throws Exception {
    List<Spec> specs = new ArrayList<>();
    for (int i = 2; i < args.length; i++) {
      specs.add(Spec.parse(args[i]));
    }
    Map<String, Object> client = Map.of(
        "bootstrap.servers", args[0],
        "default.api.timeout.ms", 15_000, "request.timeout.ms", 10_000);
    try (Admin admin = Admin.create(client)) {
      switch (args[1]) {
        case "create" -> create(admin, specs);
        case "alter" -> alter(admin, specs);
        case "delete" -> delete(admin, specs);
        case "describe" -> describe(admin, specs);
        default -> throw new IllegalArgumentException("unknown action " + args[1]);
      }
    } catch (ExecutionException e) {
      Throwable cause = e.getCause();
      System.err.println(cause.getClass().getSimpleName() + ": " + cause.getMessage());
      System.exit(1);
    }
    // The admin client's threads are closed; leaving at once saves the JVM's slower way out.
    System.out.flush();
    Runtime.getRuntime().halt(0);
  }

  static void createMissing(Admin admin, List<Spec> specs) throws Exception {
    if (specs.isEmpty()) {
      return;
    }
    Set<String> present = admin.listTopics().names().get();
    create(admin, specs.stream().filter(spec -> !present.contains(spec.name())).toList());
    awaitLeaders(admin, specs);
  }

  private static void create(Admin admin, List<Spec> specs) throws Exception {
    if (specs.isEmpty()) {
      return;
    }
    admin.createTopics(specs.stream()
        .map(spec -> new NewTopic(spec.name(), 1, (short) 1).configs(spec.settings()))
        .toList()).all().get();
    awaitLeaders(admin, specs);
  }

  /** The controller answers before the broker knows the topic; clients need the latter. */
  private static void awaitLeaders(Admin admin, List<Spec> specs) throws Exception {
    Set<String> waiting = new HashSet<>(specs.stream().map(Spec::name).toList());
    long deadline = System.currentTimeMillis() + TIMEOUT_MS;
    while (!waiting.isEmpty()) {
      try {
        Collection<TopicDescription> found =
            admin.describeTopics(waiting).allTopicNames().get().values();
        for (TopicDescription topic : found) {
          if (topic.partitions().stream().allMatch(p -> p.leader() != null)) {
            waiting.remove(topic.name());
          }
        }
      } catch (ExecutionException e) {
        if (!(e.getCause() instanceof UnknownTopicOrPartitionException)) {
          throw e;
        }
      }
      if (System.currentTimeMillis() > deadline) {
        throw new IllegalStateException("topics without a leader after 30 s: " + waiting);
      }
      if (!waiting.isEmpty()) {
        Thread.sleep(5);
      }
    }
  }

  private static void alter(Admin admin, List<Spec> specs) throws Exception {
    Map<ConfigResource, Collection<AlterConfigOp>> changes = new HashMap<>();
    for (Spec spec : specs) {
      List<AlterConfigOp> ops = new ArrayList<>();
      spec.settings().forEach((name, value) ->
          ops.add(new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET)));
      changes.put(resource(spec.name()), ops);
    }
    admin.incrementalAlterConfigs(changes).all().get();
    for (Spec spec : specs) {
      long deadline = System.currentTimeMillis() + TIMEOUT_MS;
      while (!settings(admin, spec.name()).entrySet().containsAll(spec.settings().entrySet())) {
        if (System.currentTimeMillis() > deadline) {
          throw new IllegalStateException("settings of " + spec.name() + " unchanged after 30 s");
        }
        Thread.sleep(5);
      }
    }
  }

  private static void delete(Admin admin, List<Spec> specs) throws Exception {
    List<String> names = specs.stream().map(Spec::name).toList();
    admin.deleteTopics(names).all().get();
    long deadline = System.currentTimeMillis() + TIMEOUT_MS;
    while (admin.listTopics().names().get().stream().anyMatch(names::contains)) {
      if (System.currentTimeMillis() > deadline) {
        throw new IllegalStateException("still there 30 s after deletion: " + names);
      }
      Thread.sleep(5);
    }
  }

  private static void describe(Admin admin, List<Spec> specs) throws Exception {
    for (Spec spec : specs) {
      TopicDescription topic = admin.describeTopics(List.of(spec.name()))
          .allTopicNames().get().get(spec.name());
      StringBuilder json = new StringBuilder("{\"name\": " + quote(topic.name())
          + ", \"id\": " + quote(topic.topicId().toString())
          + ", \"partitions\": " + topic.partitions().size() + ", \"leaders\": [");
      String comma = "";
      for (TopicPartitionInfo partition : topic.partitions()) {
        json.append(comma).append(partition.leader() == null ? -1 : partition.leader().id());
        comma = ", ";
      }
      json.append("], \"config\": {");
      comma = "";
      for (Map.Entry<String, String> entry : settings(admin, spec.name()).entrySet()) {
        json.append(comma)
            .append(quote(entry.getKey())).append(": ").append(quote(entry.getValue()));
        comma = ", ";
      }
      System.out.println(json.append("}}"));
    }
  }

  private static Map<String, String> settings(Admin admin, String topic) throws Exception {
    Map<String, String> settings = new TreeMap<>();
    admin.describeConfigs(List.of(resource(topic))).all().get().get(resource(topic)).entries()
        .forEach(entry -> settings.put(entry.name(), entry.value() == null ? "" : entry.value()));
    return settings;
  }

  private static ConfigResource resource(String topic) {
    return new ConfigResource(ConfigResource.Type.TOPIC, topic);
  }

  /** Names and settings of topics hold neither control characters nor text outside ASCII. */
  private static String quote(String text) {
    return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
  }
}
