package edge.mujo;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;

/** A subtree of mujo.properties, which holds mujo.json with paths as keys. */
final class ModelMetadata {
    private final Properties all;
    private final String prefix;

    ModelMetadata(Properties all, String prefix) {
        this.all = all;
        this.prefix = prefix;
    }

    String text(String key) {
        String value = all.getProperty(prefix + key);
        if (value == null) {
            throw new IllegalArgumentException(
                    "mujo.properties has no " + prefix + key + "; take the file from the same export as this code");
        }
        return value;
    }

    double number(String key) {
        return Double.parseDouble(text(key));
    }

    float[] floats(String key, int length) {
        String[] parts = text(key).split(" ");
        if (parts.length != length) {
            throw new IllegalArgumentException(
                    prefix + key + " has " + parts.length + " numbers instead of " + length + "; export again");
        }
        float[] values = new float[length];
        for (int i = 0; i < length; i++) {
            values[i] = Float.parseFloat(parts[i]);
        }
        return values;
    }

    List<String> list(String key) {
        List<String> values = new ArrayList<>();
        for (int i = 0; all.containsKey(prefix + key + "." + i); i++) {
            values.add(text(key + "." + i));
        }
        return values;
    }

    /** Subtrees under `key`, by name: those that have a value called `member`. */
    Map<String, ModelMetadata> parts(String key, String member) {
        Map<String, ModelMetadata> parts = new TreeMap<>();
        String start = prefix + key + ".";
        for (String name : all.stringPropertyNames()) {
            if (name.startsWith(start) && name.endsWith("." + member)) {
                String own = name.substring(start.length(), name.length() - member.length() - 1);
                parts.put(own, new ModelMetadata(all, start + own + "."));
            }
        }
        return parts;
    }
}
