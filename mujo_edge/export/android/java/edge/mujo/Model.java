package edge.mujo;

/** The network, in whatever runtime: LiteRT, ExecuTorch, ONNX Runtime. */
public interface Model {
    /**
     * Embeds one window.
     *
     * @param window 6 * T prepared values, channel by channel (ax, ay, az, gx, gy, gz): the model's input
     * @return its output, D values as they come; the recognizer makes their length 1
     */
    float[] embed(float[] window);
}
