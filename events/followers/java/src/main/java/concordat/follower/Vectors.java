package concordat.follower;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;

/** Runs the test vectors: a line for each failure (or, on request, for each case) and a summary. */
final class Vectors {
    private final boolean everything;
    private int cases;
    private int failures;

    private Vectors(boolean everything) {
        this.everything = everything;
    }

    static boolean run(String path, boolean everything) {
        Vectors run = new Vectors(everything);
        try {
            JsonObject vectors = JsonParser.parseString(Files.readString(Path.of(path))).getAsJsonObject();
            if (vectors.get("format").getAsInt() != 1) {
                throw new FollowException("Found vectors of format " + vectors.get("format") + " in " + path
                    + "; expected 1. Use the vectors of this version.");
            }
            for (JsonElement each : list(vectors, "links")) {
                run.link(each.getAsJsonObject());
            }
            for (String part : List.of("logs", "settled")) {
                for (JsonElement each : list(vectors, part)) {
                    run.log(each.getAsJsonObject());
                }
            }
        } catch (FollowException error) {
            throw error;
        } catch (IOException | RuntimeException error) {
            throw new FollowException("Found no test vectors in " + path + " (" + error
                + "); expected a file like events/testdata/vectors.json.");
        }
        JsonObject summary = new JsonObject();
        summary.addProperty("cases", run.cases);
        summary.addProperty("failures", run.failures);
        Output.json(summary);
        return run.failures == 0;
    }

    private static JsonArray list(JsonObject vectors, String name) {
        return vectors.has(name) ? vectors.getAsJsonArray(name) : new JsonArray();
    }

    private void link(JsonObject test) {
        List<Chain.Header> headers = headers(test);
        byte[] data = data(test);
        JsonObject found = new JsonObject();
        found.addProperty("canonical_base64",
            Base64.getEncoder().encodeToString(Chain.canonical(headers, data)));
        found.addProperty("link", Chain.link(headers, data));
        compare(test, found);
    }

    private void log(JsonObject test) {
        Chain chain = new Chain(test.get("source").getAsString(), test.get("mirrored").getAsBoolean(),
            test.has("limit") ? test.get("limit").getAsInt() : Chain.LIMIT);
        JsonArray outcomes = new JsonArray();
        long offset = 0;
        for (JsonElement each : test.getAsJsonArray("records")) {
            JsonObject record = each.getAsJsonObject();
            outcomes.add(chain.add(headers(record), data(record), offset++));
        }
        JsonObject found = new JsonObject();
        found.add("expect", outcomes);
        found.addProperty("state", chain.state());
        found.add("head", Output.head(chain, false));
        compare(test, found);
    }

    private static List<Chain.Header> headers(JsonObject from) {
        List<Chain.Header> headers = new ArrayList<>();
        for (JsonElement each : from.getAsJsonArray("headers")) {
            JsonElement value = each.getAsJsonArray().get(1);
            headers.add(new Chain.Header(each.getAsJsonArray().get(0).getAsString(),
                value.isJsonNull() ? null : value.getAsString().getBytes(StandardCharsets.UTF_8)));
        }
        return headers;
    }

    private static byte[] data(JsonObject from) {
        JsonElement data = from.get("data_base64");
        return data.isJsonNull() ? null : Base64.getDecoder().decode(data.getAsString());
    }

    /** A log without expectations is only decided, so that readers can be compared with each other. */
    private void compare(JsonObject test, JsonObject found) {
        cases++;
        JsonObject wrong = new JsonObject();
        for (String key : found.keySet()) {
            // Numbers are compared as text, because a number that was read is not equal to one that was made.
            if (test.has(key) && !test.get(key).toString().equals(found.get(key).toString())) {
                JsonObject difference = new JsonObject();
                difference.add("expected", test.get(key));
                difference.add("found", found.get(key));
                wrong.add(key, difference);
            }
        }
        if (everything) {
            JsonObject line = found.deepCopy();
            line.add("name", test.get("name"));
            Output.json(line);
        }
        if (wrong.size() > 0) {
            failures++;
            JsonObject line = new JsonObject();
            line.add("name", test.get("name"));
            line.add("failed", wrong);
            Output.json(line);
        }
    }
}
