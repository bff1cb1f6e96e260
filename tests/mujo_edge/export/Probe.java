package edge.mujo;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.util.Arrays;
import java.util.List;

/** For test_android.py: prints the parsed mujo.properties, and the events of streams from standard input. */
final class Probe {
    private static final PrintStream OUT = new PrintStream(new BufferedOutputStream(System.out), false);

    private Probe() {
    }

    public static void main(String[] arguments) throws IOException {
        Mujo mujo;
        try (FileInputStream in = new FileInputStream(arguments[1])) {
            mujo = Mujo.read(in);
        }
        if (arguments[0].equals("metadata")) {
            metadata(mujo);
        } else if (arguments[0].equals("fails")) {
            fails(mujo, Integer.parseInt(arguments[2]));
        } else {
            streams(mujo, new DataInputStream(new BufferedInputStream(System.in)));
        }
        OUT.flush();
    }

    /** Twelve seconds at the model's rate with a model that fails at one window and gives no number for the next. */
    private static void fails(Mujo mujo, int failing) {
        int[] asked = {0};
        Model model = window -> {
            if (++asked[0] == failing) {
                throw new UnsupportedOperationException("no memory");
            }
            float[] embedding = new float[mujo.dim];
            embedding[0] = asked[0] == failing + 1 ? Float.NaN : 1;
            return embedding;
        };
        Recognizer recognizer = new Recognizer(mujo, mujo.labelSet(), 3, mujo.rateHz, model);
        for (int i = 0; i < 12 * mujo.rateHz; i++) {
            try {
                show(recognizer.push(i / mujo.rateHz, new float[] {i, 0, 0}));
            } catch (IllegalStateException | UnsupportedOperationException error) {
                line("failed", error.getMessage());
            }
        }
    }

    /** A fact a line; text as its UTF-16 units, so that no encoding comes between. */
    private static void metadata(Mujo mujo) {
        line("bundle", units(mujo.bundle), units(mujo.version));
        line("rate", mujo.rateHz, mujo.window, mujo.hop, mujo.clip, mujo.maxGapS, mujo.dim);
        line("channels", String.join(" ", mujo.channels));
        line("scale", join(mujo.scale));
        line("default", units(mujo.defaultLabelSet), units(mujo.labelSet().name));
        for (LabelSet labels : mujo.labelSets.values()) {
            line("set", units(labels.name), units(labels.placement), labels.channels, labels.temperature,
                    labels.unknownThreshold, labels.smoothing, labels.stay, labels.smoothingWindows);
            for (String name : labels.names) {
                line("label", units(name));
            }
            for (float[] prototype : labels.prototypes) {
                line("prototype", join(prototype));
            }
        }
    }

    /** Streams: channels, rate, label set, smoothing, batch of a gyroscope that comes apart or 0, samples. */
    private static void streams(Mujo mujo, DataInputStream in) throws IOException {
        for (int streams = in.readInt(); streams > 0; streams--) {
            int channels = in.readInt();
            double rateHz = in.readDouble();
            LabelSet labels = mujo.labelSets.get(in.readUTF()).smoothed(in.readUTF(), 0.8, 5);
            Model model = window -> shifted(Arrays.copyOf(window, mujo.dim));
            Recognizer recognizer = new Recognizer(mujo, labels, channels, rateHz, model);
            int batch = in.readInt();
            float[][] late = new float[batch][];
            double[] lateS = new double[batch];
            Merger merger = new Merger((tS, x) -> show(recognizer.push(tS, x)));
            int samples = in.readInt();
            for (int i = 0; i < samples; i++) {
                double tS = in.readDouble();
                float[] x = new float[channels];
                for (int c = 0; c < channels; c++) {
                    x[c] = in.readFloat();
                }
                if (batch == 0) {
                    show(recognizer.push(tS, x));
                    continue;
                }
                merger.accelerometer(tS, x[0], x[1], x[2]);
                lateS[i % batch] = tS;
                late[i % batch] = x;
                for (int k = 0; k <= i % batch && (i % batch == batch - 1 || i == samples - 1); k++) {
                    merger.gyroscope(lateS[k], late[k][3], late[k][4], late[k][5]);
                }
            }
            Stats stats = recognizer.stats;
            line("stats", stats.samples, stats.invalid, stats.repeated, stats.windows, stats.gaps);
        }
    }

    private static float[] shifted(float[] values) {
        for (int i = 0; i < values.length; i++) {
            values[i] += 0.01f * (i % 3);
        }
        return values;
    }

    private static void show(List<Event> events) {
        for (Event event : events) {
            if (event instanceof Event.Gap) {
                Event.Gap gap = (Event.Gap) event;
                line("gap", gap.startS, gap.endS, gap.reason);
            } else {
                Event.Prediction p = (Event.Prediction) event;
                line("prediction", p.endS, p.score, join(p.scores), join(p.embedding), p.label, p.rawLabel);
            }
        }
    }

    private static void line(String what, Object... values) {
        StringBuilder line = new StringBuilder(what);
        for (Object value : values) {
            line.append('\t').append(value);
        }
        OUT.println(line);
    }

    private static String join(float[] values) {
        StringBuilder joined = new StringBuilder();
        for (float value : values) {
            joined.append(joined.length() == 0 ? "" : " ").append(value);
        }
        return joined.toString();
    }

    private static String units(String text) {
        StringBuilder joined = new StringBuilder();
        for (char unit : text.toCharArray()) {
            joined.append(joined.length() == 0 ? "" : " ").append((int) unit);
        }
        return joined.toString();
    }
}
