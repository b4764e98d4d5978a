import java.io.FileInputStream;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import javax.management.MalformedObjectNameException;
import javax.management.ObjectName;
import org.apache.kafka.connect.errors.NotFoundException;
import org.apache.kafka.connect.mirror.MirrorMaker;
import org.apache.kafka.connect.mirror.SourceAndTarget;
import org.apache.kafka.connect.runtime.rest.entities.ConnectorStateInfo;

/**
 * MirrorMaker 2 for all pairs of sites in one JVM, which prints READY when the source connector of
 * every pair, and all its tasks, are running.
 *
 * There is one MirrorMaker object for each origin, started at the same time. This is quicker, and
 * it lets each start use worker groups of its own: a group's name can be set for a target only, so
 * with one object two origins would share it. The fresh group matters after a kill: the dead worker
 * would stay in the old group until its session ends, and its successor would wait for that. What
 * has been mirrored is remembered in the offsets topic, not in the group, so nothing is lost.
 *
 * Arguments: mirror.properties, then the names of the sites.
 */
public final class Mirror {
  public static void main(String[] args) throws Exception {
    Properties file = new Properties();
    try (FileInputStream in = new FileInputStream(args[0])) {
      file.load(in);
    }
    List<String> sites = List.of(args).subList(1, args.length);
    long start = System.currentTimeMillis();

    List<Thread> threads = new ArrayList<>();
    for (String origin : sites) {
      Map<String, String> properties = new HashMap<>();
      file.stringPropertyNames().forEach(name -> properties.put(name, file.getProperty(name)));
      for (String other : sites) {
        properties.put(other + ".group.id", origin + "-mm2-" + start);
        for (String target : sites) {
          if (!other.equals(origin)) {
            properties.remove(other + "->" + target + ".enabled");
          }
        }
      }
      Thread thread = new Thread(() -> startAndAwait(properties, origin, sites), origin);
      // A thread that fails must end the process, or half a mirror would go on in silence.
      thread.setUncaughtExceptionHandler((failed, error) -> {
        error.printStackTrace();
        Runtime.getRuntime().halt(1);
      });
      threads.add(thread);
      thread.start();
    }
    for (Thread thread : threads) {
      thread.join();
    }
    System.out.println("READY");
    System.out.flush();
    new CountDownLatch(1).await();
  }

  private static void startAndAwait(
      Map<String, String> properties, String origin, List<String> sites) {
    MirrorMaker mirror = new MirrorMaker(properties);
    mirror.start();
    for (String target : sites) {
      while (!target.equals(origin) && !running(mirror, new SourceAndTarget(origin, target))) {
        try {
          Thread.sleep(20);
        } catch (InterruptedException e) {
          throw new IllegalStateException(e);
        }
      }
    }
  }

  /**
   * Connect keeps the status of tasks in a topic, so after a kill it still says "running" for the
   * dead ones. The consumer that reads the origin shows that a task of this process has started.
   */
  private static boolean running(MirrorMaker mirror, SourceAndTarget pair) {
    try {
      ConnectorStateInfo state = mirror.connectorStatus(pair, "MirrorSourceConnector");
      return state.connector().state().equals("RUNNING")
          && !state.tasks().isEmpty()
          && state.tasks().stream().allMatch(task -> task.state().equals("RUNNING"))
          && ManagementFactory.getPlatformMBeanServer()
              .queryNames(new ObjectName("kafka.consumer:type=consumer-metrics,*"), null).stream()
              .map(name -> ObjectName.unquote(name.getKeyProperty("client-id")))
              .anyMatch(id -> id.startsWith(pair + "|") && id.endsWith("|replication-consumer"));
    } catch (NotFoundException notYetConfigured) {
      return false;
    } catch (MalformedObjectNameException e) {
      throw new IllegalStateException(e);
    }
  }
}
