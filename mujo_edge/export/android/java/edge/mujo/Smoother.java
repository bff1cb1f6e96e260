package edge.mujo;

import java.util.ArrayDeque;

/**
 * Smooths the class probabilities of consecutive windows.
 *
 * <p>"hmm": forward filter; a class stays with probability `stay` and else moves to any other alike (Rabiner 1989,
 * eq. 20, normalized at every step). "majority": the share of the last windows in which a class was the likeliest;
 * the newest counts half more, which breaks ties. "none": as they come.
 */
final class Smoother {
    private final LabelSet labels;
    private final ArrayDeque<Integer> votes = new ArrayDeque<>();
    private float[] belief;

    Smoother(LabelSet labels) {
        this.labels = labels;
    }

    /** Forget the windows so far: what follows is not continuous with them. */
    void reset() {
        votes.clear();
        belief = null;
    }

    /** Probabilities of one window -> smoothed. */
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
            weight[k] = Math.max(p[k], 1e-6f); // never quite impossible, or the filter could not come back to it
            if (belief != null) {
                weight[k] *= stay * belief[k] + (1 - stay) / (p.length - 1) * (1 - belief[k]);
            }
        }
        belief = shares(weight);
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
        return shares(counts);
    }

    private static float[] shares(float[] weights) {
        float sum = 0;
        for (float weight : weights) {
            sum += weight;
        }
        float[] shares = new float[weights.length];
        for (int k = 0; k < shares.length; k++) {
            shares[k] = weights[k] / sum;
        }
        return shares;
    }
}
