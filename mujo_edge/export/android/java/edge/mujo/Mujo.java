package edge.mujo;

import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;

/** The description of the model and its label sets: mujo.json, read from mujo.properties with the same content. */
public final class Mujo {
    private static final int SCHEMA_VERSION = 1;

    /** Name and version of the bundle that the model comes from. */
    public final String bundle;
    public final String version;
    /** ax, ay, az in m/s2 with gravity, gx, gy, gz in rad/s; right-handed sensor frame. */
    public final String[] channels;
    public final double rateHz;
    /** Samples in a window, and between the starts of consecutive windows. */
    public final int window;
    public final int hop;
    /** Number of values of the model's output. */
    public final int dim;
    public final Map<String, LabelSet> labelSets = new TreeMap<>();
    public final String defaultLabelSet;
    /** Divisor of each channel; afterwards values are clipped to +-clip. */
    final float[] scale;
    final float clip;
    final double maxGapS;

    private Mujo(ModelMetadata metadata) {
        int schema = (int) metadata.number("schema_version");
        if (schema != SCHEMA_VERSION) {
            throw new IllegalArgumentException(
                    "mujo.properties has schema " + schema + ", this code reads " + SCHEMA_VERSION
                            + "; take both from the same export");
        }
        bundle = metadata.text("bundle");
        version = metadata.text("version");
        channels = metadata.list("input.channels").toArray(new String[0]);
        rateHz = metadata.number("input.rate_hz");
        window = (int) metadata.number("input.window");
        hop = (int) metadata.number("input.hop");
        scale = metadata.floats("input.scale", channels.length);
        clip = (float) metadata.number("input.clip");
        maxGapS = metadata.number("input.max_gap_s");
        dim = (int) metadata.number("embedding_dim");
        defaultLabelSet = metadata.text("default_label_set");
        metadata.parts("label_sets", "temperature").forEach(
                (name, part) -> labelSets.put(name, new LabelSet(part, name, dim)));
        boolean valid = (channels.length == 3 || channels.length == 6) && hop >= 1 && hop <= window && dim >= 1
                && isPositive(rateHz) && isPositive(maxGapS) && isPositive(clip);
        for (float divisor : scale) {
            valid &= isPositive(divisor);
        }
        if (!valid || !labelSets.containsKey(defaultLabelSet)) {
            throw new IllegalArgumentException("mujo.properties is inconsistent; export again");
        }
    }

    private static boolean isPositive(double value) {
        return value > 0 && !Double.isInfinite(value);
    }

    /**
     * Read mujo.properties, UTF-8; the stream is left open.
     *
     * @throws IllegalArgumentException if a value is missing or outside its limits, or the schema is another one
     */
    public static Mujo read(InputStream properties) throws IOException {
        Properties all = new Properties();
        all.load(new InputStreamReader(properties, StandardCharsets.UTF_8));
        return new Mujo(new ModelMetadata(all, ""));
    }

    /** The default label set. */
    public LabelSet labelSet() {
        return labelSets.get(defaultLabelSet);
    }
}
