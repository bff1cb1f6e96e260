package edge.mujo;

/** The network in a runtime such as LiteRT, ExecuTorch or ONNX Runtime. */
public interface Model {
    /**
     * Embeds one window.
     *
     * @param window 6 * T prepared values, channel by channel (ax, ay, az, gx, gy, gz): the model's input
     * @return its raw output of D values; the recognizer normalizes it
     */
    float[] embed(float[] window);
}
