package concordat.follower;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Pattern;

/**
 * The reader's state, and the rule that moves it (docs/subscribing.md). It knows nothing of Kafka.
 */
final class Chain {
    static final String ZEROS = "0".repeat(64);

    /**
     * How many void links a reader remembers. It is part of the rule: readers with different limits
     * could disagree about a log that somebody floods with strangers.
     */
    static final int LIMIT = 65536;

    /** What a decoder puts in place of bytes that are no text. */
    static final String UNREADABLE = "\ufffd";

    static final String ACCEPTED = "accepted";
    static final String DAMAGED = "damaged";

    private static final List<String> REQUIRED = List.of(
        "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_sequence",
        "ce_parent", "ce_writer", "content-type");
    private static final Pattern COVERED_NAME = Pattern.compile("ce_[a-z0-9]+");
    private static final Pattern HEX64 = Pattern.compile("[0-9a-f]{64}");
    private static final Pattern DECIMAL = Pattern.compile("0|[1-9][0-9]{0,18}");

    /** A header as the rule sees it. */
    record Header(String name, byte[] value) {
        Header {
            // Clients built on librdkafka see a name only up to its first zero byte, so no reader
            // may see more. A null value is empty, because not every client tells them apart.
            int zero = name.indexOf('\0');
            name = zero < 0 ? name : name.substring(0, zero);
            value = value == null ? new byte[0] : value;
        }

        boolean covered() {
            return name.equals("content-type") || name.startsWith("ce_") && !name.equals("ce_id");
        }
    }

    record Head(String link, long sequence, long offset) {
    }

    final String source;
    final boolean mirrored;
    final int limit;
    Head head = new Head(ZEROS, -1, -1);
    /** Void link to its sequence; none is below the head's sequence. */
    final Map<String, Long> ahead = new HashMap<>();
    /** Links of corrupt records that claim the head as parent. */
    final Set<String> corrupt = new TreeSet<>();
    /** The head must reach this sequence before a mirrored log is trusted again; -1 when it is. */
    long suspect = -1;
    boolean damaged;

    Chain(String source, boolean mirrored, int limit) {
        this.source = source;
        this.mirrored = mirrored;
        this.limit = limit;
    }

    String state() {
        return damaged ? DAMAGED : suspect >= 0 ? "suspect" : "ok";
    }

    /** Takes the next record of the log; returns "accepted", "void:reason" or "damaged". */
    String add(List<Header> headers, byte[] data, long offset) {
        if (damaged) {
            return DAMAGED;
        }
        String outcome = decide(headers, data, offset);
        if (ahead.size() + corrupt.size() > limit) {
            damaged = true;
        }
        return damaged ? DAMAGED : outcome;
    }

    private String decide(List<Header> headers, byte[] data, long offset) {
        // Some clients cannot deliver any header of a record once one name is not UTF-8, and others
        // deliver this character in it, so no reader may look at such a record.
        if (headers.stream().anyMatch(header -> header.name().contains(UNREADABLE))) {
            return "void:corrupt";
        }

        // A header that appears twice has no value: readers that take the first one and readers
        // that take the last one must not disagree.
        Map<String, byte[]> fields = new TreeMap<>();
        Set<String> twice = new HashSet<>();
        boolean hasLink = true;
        for (Header header : headers) {
            boolean again = fields.put(header.name(), header.value()) != null;
            if (again) {
                twice.add(header.name());
            }
            // Clients decode names outside a-z0-9 differently, so such a record has no single link.
            boolean oddName = header.name().startsWith("ce_")
                && !COVERED_NAME.matcher(header.name()).matches();
            if (oddName || again && header.covered()) {
                hasLink = false;
            }
        }
        fields.keySet().removeAll(twice);

        String link = link(headers, data);
        String id = text(fields.get("ce_id"));
        String parent = text(fields.get("ce_parent"));
        if (!hasLink || !wellFormed(fields) || !id.equals(link)) {
            if (parent.equals(head.link())) {
                // The damage may be in ce_id itself, so what it should have been counts too. The
                // head is never corrupt, or one forged ce_id would end the stream.
                if (HEX64.matcher(id).matches()) {
                    corrupt.add(id);
                }
                if (hasLink) {
                    corrupt.add(link);
                }
                corrupt.remove(head.link());
            }
            return "void:corrupt";
        }

        long sequence = Long.parseLong(text(fields.get("ce_sequence")));
        if (sequence <= head.sequence()) {
            if (sequence == head.sequence() && !link.equals(head.link())) {
                // A rival of the head may have children, and knowing it tells them from a gap.
                ahead.put(link, sequence);
            }
            return "void:stale";
        }
        if (corrupt.contains(parent)) {
            // Somebody built on a record that can no longer be read.
            damaged = true;
            return DAMAGED;
        }
        if (ahead.containsKey(link)) {
            return "void:repeated";
        }
        if (parent.equals(head.link()) && sequence - 1 == head.sequence()) {
            head = new Head(link, sequence, offset);
            corrupt.clear();
            ahead.values().removeIf(at -> at < sequence);
            if (sequence >= suspect) {
                suspect = -1;
            }
            return ACCEPTED;
        }
        if (mirrored && !parent.equals(head.link()) && !ahead.containsKey(parent)) {
            suspect = Math.max(suspect, sequence);
        }
        ahead.put(link, sequence);
        return "void:stranger";
    }

    /**
     * The other values are not looked at: what one reader checks and another does not would let
     * them disagree.
     */
    private boolean wellFormed(Map<String, byte[]> fields) {
        return fields.keySet().containsAll(REQUIRED)
            && HEX64.matcher(text(fields.get("ce_id"))).matches()
            && HEX64.matcher(text(fields.get("ce_parent"))).matches()
            && sequenceIsCanonical(text(fields.get("ce_sequence")))
            && Arrays.equals(fields.get("ce_source"), source.getBytes(StandardCharsets.UTF_8));
    }

    private static boolean sequenceIsCanonical(String text) {
        // Decimals of equal length compare like their values.
        return DECIMAL.matcher(text).matches()
            && (text.length() < 19 || text.compareTo(Long.toString(Long.MAX_VALUE)) <= 0);
    }

    /** One character for each byte, so that no bytes are mistaken for others. */
    private static String text(byte[] value) {
        return value == null ? "" : new String(value, StandardCharsets.ISO_8859_1);
    }

    /** The bytes the link is the SHA-256 of. */
    static byte[] canonical(List<Header> headers, byte[] data) {
        List<byte[][]> covered = new ArrayList<>();
        for (Header header : headers) {
            if (header.covered()) {
                covered.add(new byte[][] {header.name().getBytes(StandardCharsets.UTF_8), header.value()});
            }
        }
        covered.sort((a, b) -> {
            int byName = Arrays.compareUnsigned(a[0], b[0]);
            return byName != 0 ? byName : Arrays.compareUnsigned(a[1], b[1]);
        });
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (byte[][] pair : covered) {
            part(out, pair[0]);
            part(out, pair[1]);
        }
        part(out, data == null ? new byte[0] : data);
        return out.toByteArray();
    }

    private static void part(ByteArrayOutputStream out, byte[] bytes) {
        for (int shift = 24; shift >= 0; shift -= 8) {
            out.write(bytes.length >>> shift);
        }
        out.writeBytes(bytes);
    }

    static String link(List<Header> headers, byte[] data) {
        try {
            return HexFormat.of().formatHex(
                MessageDigest.getInstance("SHA-256").digest(canonical(headers, data)));
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException("Every Java platform has SHA-256.", impossible);
        }
    }
}
