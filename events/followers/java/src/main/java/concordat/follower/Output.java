package concordat.follower;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** The output, the same in every follower. */
final class Output {
    private static final Gson GSON = new GsonBuilder().disableHtmlEscaping().serializeNulls().create();
    private static final PrintStream OUT = new PrintStream(
        new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);

    private final boolean everything;
    private final boolean asJson;
    private final Map<String, Long> voids = new TreeMap<>();
    private long accepted;

    Output(boolean everything, boolean asJson) {
        this.everything = everything;
        this.asJson = asJson;
    }

    void record(String result, List<Chain.Header> headers, byte[] data, long offset) {
        int colon = result.indexOf(':');
        String outcome = colon < 0 ? result : result.substring(0, colon);
        String reason = colon < 0 ? "" : result.substring(colon + 1);
        if (outcome.equals(Chain.ACCEPTED)) {
            accepted++;
        } else if (outcome.equals("void")) {
            voids.merge(reason, 1L, Long::sum);
        }
        if (reason.equals("corrupt") || outcome.equals(Chain.DAMAGED)) {
            alarm("The record at offset " + offset + " is " + (reason.isEmpty() ? outcome : reason) + ".");
        }
        if (outcome.equals("void") && !everything) {
            return;
        }
        Map<String, String> fields = new HashMap<>();
        for (Chain.Header header : headers) {
            fields.put(header.name(), new String(header.value(), StandardCharsets.UTF_8));
        }
        JsonObject line = new JsonObject();
        line.addProperty("offset", offset);
        line.addProperty("outcome", outcome);
        line.addProperty("reason", reason);
        line.addProperty("link", Chain.link(headers, data));
        for (String name : List.of("sequence", "type", "subject", "time")) {
            line.addProperty(name, fields.getOrDefault("ce_" + name, ""));
        }
        if (asJson) {
            json(line);
        } else {
            // A header may hold a tab or a line end, which must not forge a line of output.
            List<String> values = new ArrayList<>();
            line.entrySet().forEach(
                field -> values.add(field.getValue().getAsString().replaceAll("[\\x00-\\x1f\\x7f]", "?")));
            OUT.println(String.join("\t", values));
        }
    }

    void summary(Chain chain) {
        JsonObject summary = new JsonObject();
        summary.addProperty("accepted", accepted);
        JsonObject counts = new JsonObject();
        voids.forEach(counts::addProperty);
        summary.add("void", counts);
        summary.add("head", head(chain, true));
        summary.addProperty("state", chain.state());
        json(summary);
        OUT.flush();
        if (chain.damaged) {
            alarm("The log is damaged: a record builds on one that cannot be read, or more than "
                + chain.limit + " void links are pending. Expected an unbroken chain. Follow another "
                + "replica, and tell the site's operators.");
        } else if (chain.suspect >= 0) {
            alarm("This replica has a gap: a record at sequence " + chain.suspect + " has a parent that is "
                + "not here. Decide nothing from it; follow the site's own log or another replica.");
        }
    }

    static JsonObject head(Chain chain, boolean withOffset) {
        JsonObject head = new JsonObject();
        head.addProperty("link", chain.head.link());
        head.addProperty("sequence", chain.head.sequence());
        if (withOffset) {
            head.addProperty("offset", chain.head.offset());
        }
        return head;
    }

    /** Only ASCII, so that the output does not depend on anybody's locale. */
    static void json(JsonElement value) {
        StringBuilder line = new StringBuilder();
        for (char c : GSON.toJson(value).toCharArray()) {
            if (c < 0x80) {
                line.append(c);
            } else {
                line.append(String.format("\\u%04x", (int) c));
            }
        }
        OUT.println(line);
    }

    static void mustFlush() {
        // A PrintStream keeps its errors for itself until it is asked.
        if (OUT.checkError()) {
            throw new FollowException("Found no way to write the output, expected one that takes it;"
                + " start again once it does: what was not written was not remembered either.");
        }
    }

    static void flush() {
        OUT.flush();
    }

    static void alarm(String message) {
        OUT.flush();
        System.err.println("follow: " + message);
        System.err.flush();
    }
}
