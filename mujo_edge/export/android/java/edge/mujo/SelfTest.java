package edge.mujo;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Runs the streams of golden/ through this package and reports differences from Python's results.
 *
 * <p>{@code java edge.mujo.SelfTest FOLDER}, with the folder that holds mujo.properties and golden/; exit code 1 if
 * anything differs. The golden embeddings replace the model. On a device, call {@link #run} with the app's own model
 * to compare its embeddings as well.
 */
public final class SelfTest {
    private static final double TIME_S = 1e-6;
    private static final double SCORE = 1e-3;
    private static final double WINDOW = 1e-5;
    private static final double EMBEDDING = 1e-3;

    /** Opens a file of the artifact by its relative path: on Android {@code assets::open}. */
    public interface Opener {
        InputStream open(String path) throws IOException;
    }

    private final Mujo mujo;
    private final Golden golden;
    private final Model model;
    private final List<String> differences = new ArrayList<>();
    private String stream = "";

    private SelfTest(Mujo mujo, Golden golden, Model model) {
        this.mujo = mujo;
        this.golden = golden;
        this.model = model;
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
     * Run all golden streams.
     *
     * @param model the app's model, whose embeddings are compared with the golden ones; null for none
     * @return a line for each difference
     */
    public static List<String> run(Opener folder, Model model) throws IOException {
        Mujo mujo;
        try (InputStream properties = folder.open("mujo.properties")) {
            mujo = Mujo.read(properties);
        }
        SelfTest test = new SelfTest(mujo, new Golden(folder), model);
        List<Map<String, String>> cases = test.golden.table("cases.csv");
        test.same("at least one stream", !cases.isEmpty(), true);
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
        GoldenModel goldenModel = new GoldenModel(Integer.parseInt(spec.get("predictions")));
        Recognizer recognizer = new Recognizer(mujo, labels, channels, rateHz, goldenModel);
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
        same("number of predictions", goldenModel.count, goldenModel.embeddings.length);
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

    private void same(String what, Object actual, Object expected) {
        if (!actual.equals(expected)) {
            differences.add(stream + ": " + what + " is " + actual + " instead of " + expected);
        }
    }

    private void near(String what, double actual, String expected, double tolerance) {
        if (expected.isEmpty() || !(Math.abs(actual - Golden.number(expected)) <= tolerance)) {
            differences.add(stream + ": " + what + " is " + actual + " instead of " + expected);
        }
    }

    private void near(String what, float[] actual, float[] expected, double tolerance) {
        double most = 0;
        for (int i = 0; i < Math.min(actual.length, expected.length); i++) {
            most = Math.max(most, Math.abs(actual[i] - expected[i])); // NaN stays
        }
        if (actual.length != expected.length || !(most <= tolerance)) {
            differences.add(stream + ": " + what + " is off by " + most);
        }
    }

    /** Returns the golden embeddings in order, and checks that the windows are the golden ones. */
    private final class GoldenModel implements Model {
        final float[][] windows;
        final float[][] embeddings;
        int count;

        GoldenModel(int predictions) throws IOException {
            windows = golden.floats(stream + ".windows.f32", predictions, mujo.channels.length * mujo.window);
            embeddings = golden.floats(stream + ".embeddings.f32", predictions, mujo.dim);
        }

        @Override
        public float[] embed(float[] window) {
            if (count == windows.length) {
                throw new IllegalStateException("more than " + count + " windows");
            }
            float[] embedding = embeddings[count];
            near("window " + (count + 1), window, windows[count], WINDOW);
            if (model != null) {
                float[] actual = Recognizer.normalized(model.embed(window), mujo.dim);
                near("embedding " + (count + 1), actual, embedding, EMBEDDING);
            }
            count++;
            return embedding;
        }
    }
}
