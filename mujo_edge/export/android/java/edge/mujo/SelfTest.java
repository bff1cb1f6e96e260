package edge.mujo;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Runs golden/ through this package and says what differs from what Python made of it.
 *
 * <p>{@code java edge.mujo.SelfTest FOLDER}, with the folder that holds mujo.properties and golden/; exit code 1 if
 * anything differs. The golden embeddings stand for the model. On a device call {@link #run} with the app's own model,
 * and its embeddings are compared, too.
 */
public final class SelfTest {
    private static final double TIME_S = 1e-6;
    private static final double SCORE = 1e-3;
    private static final double WINDOW = 1e-5;
    private static final double EMBEDDING = 1e-3;

    /** Opens a file of the artifact by its path in it: on Android {@code assets::open}. */
    public interface Opener {
        InputStream open(String path) throws IOException;
    }

    private final Mujo mujo;
    private final Golden golden;
    private final Model own;
    private final List<String> differences = new ArrayList<>();
    private String stream = "";

    private SelfTest(Mujo mujo, Golden golden, Model own) {
        this.mujo = mujo;
        this.golden = golden;
        this.own = own;
    }

    public static void main(String[] arguments) {
        File folder = new File(arguments.length > 0 ? arguments[0] : ".");
        List<String> differences = new ArrayList<>();
        try {
            differences = run(path -> new FileInputStream(new File(folder, path)), null);
        } catch (IOException | RuntimeException error) {
            differences.add(error.toString());
        }
        differences.forEach(System.out::println);
        System.out.println(differences.isEmpty() ? "passed" : "failed");
        System.exit(differences.isEmpty() ? 0 : 1);
    }

    /**
     * All golden streams.
     *
     * @param own the app's model, whose embeddings are compared with the golden ones; null for none
     * @return what differs, a line each
     */
    public static List<String> run(Opener folder, Model own) throws IOException {
        Mujo mujo;
        try (InputStream properties = folder.open("mujo.properties")) {
            mujo = Mujo.read(properties);
        }
        SelfTest test = new SelfTest(mujo, new Golden(folder), own);
        List<Map<String, String>> cases = test.golden.table("cases.csv");
        test.same("more than no streams", !cases.isEmpty(), true);
        for (Map<String, String> spec : cases) {
            test.stream = spec.get("name");
            try {
                test.compare(spec);
            } catch (RuntimeException error) {
                test.differences.add(test.stream + ": " + error);
            }
        }
        return test.differences;
    }

    private void compare(Map<String, String> spec) throws IOException {
        LabelSet labels = mujo.labelSets.get(spec.get("label_set")).smoothed(
                spec.get("smoothing"),
                Golden.number(spec.get("stay")),
                Integer.parseInt(spec.get("smoothing_windows")));
        int channels = Integer.parseInt(spec.get("channels"));
        double rateHz = spec.get("rate_hz").isEmpty() ? 0 : Golden.number(spec.get("rate_hz"));
        Answers answers = new Answers(Integer.parseInt(spec.get("predictions")));
        Recognizer recognizer = new Recognizer(mujo, labels, channels, rateHz, answers);
        List<Map<String, String>> samples = golden.table(stream + ".samples.csv");
        List<Event> events = new ArrayList<>();
        for (Map<String, String> row : samples) {
            double[] cells = row.values().stream().mapToDouble(Golden::number).toArray();
            float[] x = new float[cells.length - 1];
            for (int c = 0; c < x.length; c++) {
                x[c] = (float) cells[1 + c];
            }
            events.addAll(recognizer.push(cells[0], x));
        }
        List<Map<String, String>> expected = golden.table(stream + ".events.csv");
        same("number of samples", samples.size(), Integer.parseInt(spec.get("samples")));
        same("number of predictions", answers.given, answers.embeddings.length);
        same("number of events", events.size(), expected.size());
        for (int i = 0; i < Math.min(events.size(), expected.size()); i++) {
            compare("event " + (i + 1), events.get(i), expected.get(i));
        }
    }

    private void compare(String what, Event event, Map<String, String> expected) {
        near(what + ": end_s", event.endS, expected.get("end_s"), TIME_S);
        if (event instanceof Event.Prediction) {
            Event.Prediction prediction = (Event.Prediction) event;
            same(what, "prediction", expected.get("event"));
            same(what + ": label", prediction.label, expected.get("label"));
            same(what + ": raw_label", prediction.rawLabel, expected.get("raw_label"));
            near(what + ": score", prediction.score, expected.get("score"), SCORE);
        } else {
            Event.Gap gap = (Event.Gap) event;
            same(what, "gap", expected.get("event"));
            same(what + ": reason", gap.reason, expected.get("reason"));
            near(what + ": start_s", gap.startS, expected.get("start_s"), TIME_S);
        }
    }

    private void same(String what, Object found, Object expected) {
        if (!found.equals(expected)) {
            differences.add(stream + ": " + what + " is " + found + " instead of " + expected);
        }
    }

    private void near(String what, double found, String expected, double tolerance) {
        if (expected.isEmpty() || !(Math.abs(found - Golden.number(expected)) <= tolerance)) {
            differences.add(stream + ": " + what + " is " + found + " instead of " + expected);
        }
    }

    private void near(String what, float[] found, float[] expected, double tolerance) {
        double most = 0;
        for (int i = 0; i < Math.min(found.length, expected.length); i++) {
            most = Math.max(most, Math.abs(found[i] - expected[i])); // NaN stays
        }
        if (found.length != expected.length || !(most <= tolerance)) {
            differences.add(stream + ": " + what + " is off by " + most);
        }
    }

    /** Golden embeddings, one after the other; what is asked for must be the golden windows. */
    private final class Answers implements Model {
        final float[][] windows;
        final float[][] embeddings;
        int given;

        Answers(int predictions) throws IOException {
            windows = golden.floats(stream + ".windows.f32", predictions, mujo.channels.length * mujo.window);
            embeddings = golden.floats(stream + ".embeddings.f32", predictions, mujo.dim);
        }

        @Override
        public float[] embed(float[] window) {
            if (given == windows.length) {
                throw new IllegalStateException("more than " + given + " windows");
            }
            float[] embedding = embeddings[given];
            near("window " + (given + 1), window, windows[given], WINDOW);
            if (own != null) {
                float[] found = Recognizer.normalized(own.embed(window), mujo.dim);
                near("embedding " + (given + 1), found, embedding, EMBEDDING);
            }
            given++;
            return embedding;
        }
    }
}
