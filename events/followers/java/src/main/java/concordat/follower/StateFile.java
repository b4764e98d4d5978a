package concordat.follower;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.OptionalLong;

/** Everything a reader has to remember between runs; the Python follower reads the same file. */
record StateFile(Path path, String stream, String topic) {

    void save(Chain chain, long offset) {
        JsonObject state = identity(chain);
        state.addProperty("offset", offset);
        state.add("head", Output.head(chain, true));
        JsonObject ahead = new JsonObject();
        chain.ahead.forEach(ahead::addProperty);
        state.add("ahead", ahead);
        JsonArray corrupt = new JsonArray();
        chain.corrupt.forEach(corrupt::add);
        state.add("corrupt", corrupt);
        state.addProperty("suspect", chain.suspect);
        state.addProperty("damaged", chain.damaged);
        // A reader killed while it writes must find the old file or the new one, never half of one.
        Path temporary = Path.of(path + ".new");
        try {
            try (FileChannel file = FileChannel.open(temporary, StandardOpenOption.CREATE,
                    StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING)) {
                ByteBuffer bytes = ByteBuffer.wrap(state.toString().getBytes(StandardCharsets.UTF_8));
                while (bytes.hasRemaining()) {
                    file.write(bytes);
                }
                file.force(true);
            }
            Files.move(temporary, path, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException error) {
            throw new FollowException("Found no way to write the state file " + path + " (" + error
                + "); expected to replace it. Check the directory and the disk, and run again.");
        }
    }

    /** Fills the chain and returns the next offset to read, or nothing when there is no file yet. */
    OptionalLong load(Chain chain) {
        JsonObject state;
        try {
            state = JsonParser.parseString(Files.readString(path)).getAsJsonObject();
        } catch (NoSuchFileException none) {
            return OptionalLong.empty();
        } catch (IOException | RuntimeException error) {
            throw unusable(error);
        }
        JsonObject found = new JsonObject();
        JsonObject expected = identity(chain);
        long offset;
        try {
            for (String name : expected.keySet()) {
                found.add(name, state.get(name));
            }
            JsonObject head = state.getAsJsonObject("head");
            chain.head = new Chain.Head(head.get("link").getAsString(), head.get("sequence").getAsLong(),
                head.get("offset").getAsLong());
            state.getAsJsonObject("ahead").entrySet().forEach(
                entry -> chain.ahead.put(entry.getKey(), entry.getValue().getAsLong()));
            state.getAsJsonArray("corrupt").forEach(link -> chain.corrupt.add(link.getAsString()));
            chain.suspect = state.get("suspect").getAsLong();
            chain.damaged = state.get("damaged").getAsBoolean();
            offset = state.get("offset").getAsLong();
        } catch (RuntimeException error) {
            throw unusable(error);
        }
        // Numbers are compared as text, because a number that was read is not equal to one that was made.
        if (!found.toString().equals(expected.toString())) {
            throw new FollowException("Found a state file " + path + " of " + found + "; expected one of "
                + expected + ". Use one state file for each stream.");
        }
        return OptionalLong.of(offset);
    }

    private JsonObject identity(Chain chain) {
        JsonObject identity = new JsonObject();
        identity.addProperty("format", 1);
        identity.addProperty("stream", stream);
        identity.addProperty("topic", topic);
        identity.addProperty("mirrored", chain.mirrored);
        return identity;
    }

    private FollowException unusable(Exception error) {
        return new FollowException("Found a state file " + path + " that cannot be read (" + error
            + "); expected what an earlier run wrote. Delete it to read the stream from the beginning.");
    }
}
