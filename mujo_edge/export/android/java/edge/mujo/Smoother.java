package edge.mujo;

import java.util.ArrayDeque;

/**
 * Smooths the class probabilities of consecutive windows.
 *
 * <p>"hmm": forward filter; a class stays with probability `stay` and else changes to any other with equal
 * probability (Rabiner 1989, eq. 20, normalized at every step). "majority": the fraction of the last windows in
 * which a class was the likeliest; the newest has a weight of 1.5, which breaks ties. "none": unchanged.
 */
final class Smoother {
    private final LabelSet labels;
    private final ArrayDeque<Integer> votes = new ArrayDeque<>();
    private float[] belief;

    Smoother(LabelSet labels) {
        this.labels = labels;
    }

    /** Forget the windows so far: the next one does not continue them. */
    void reset() {
        votes.clear();
        belief = null;
    }

    /** Probabilities of one window -> smoothed probabilities. */
    float[] update(float[] p) {
        switch (labels.smoothing) {
            case "hmm":
                return filter(p);
            case "majority":
                return vote(p);
            default:
                return p;
        }
    }

    private float[] filter(float[] p) {
        float[] weight = new float[p.length];
        float stay = (float) labels.stay;
        for (int k = 0; k < p.length; k++) {
            weight[k] = Math.max(p[k], 1e-6f); // never zero, from which the filter could not recover
            if (belief != null) {
                weight[k] *= stay * belief[k] + (1 - stay) / (p.length - 1) * (1 - belief[k]);
            }
        }
        belief = normalized(weight);
        return belief;
    }

    private float[] vote(float[] p) {
        votes.add(LabelSet.best(p));
        if (votes.size() > labels.smoothingWindows) {
            votes.remove();
        }
        float[] counts = new float[p.length];
        for (int vote : votes) {
            counts[vote]++;
        }
        counts[votes.getLast()] += 0.5f;
        return normalized(counts);
    }

    private static float[] normalized(float[] weights) {
        float sum = 0;
        for (float weight : weights) {
            sum += weight;
        }
        float[] normalized = new float[weights.length];
        for (int k = 0; k < normalized.length; k++) {
            normalized[k] = weights[k] / sum;
        }
        return normalized;
    }
}
