// This file was not run on a device, see README.md; the package edge.mujo that it uses is tested.
package edge.mujo.android

import android.content.Context
import android.content.res.AssetManager
import android.hardware.Sensor
import android.hardware.SensorEvent
import android.hardware.SensorEventListener
import android.hardware.SensorManager
import android.os.Handler
import android.os.HandlerThread
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import edge.mujo.Event
import edge.mujo.Merger
import edge.mujo.Model
import edge.mujo.Mujo
import edge.mujo.Recognizer
import edge.mujo.SelfTest

/** The model in LiteRT 2 on the CPU: it is too small for a GPU or NPU to pay off. */
class LiteRtModel(assets: AssetManager) : Model, AutoCloseable {
    private val compiled = CompiledModel.create(assets, MODEL, CompiledModel.Options(Accelerator.CPU))
    private val inputs = compiled.createInputBuffers()
    private val outputs = compiled.createOutputBuffers()

    override fun embed(window: FloatArray): FloatArray {
        inputs[0].writeFloat(window)
        compiled.run(inputs, outputs)
        return outputs[0].readFloat()
    }

    override fun close() {
        inputs.forEach { it.close() }
        outputs.forEach { it.close() }
        compiled.close()
    }
}

/** Recognizes the wearer's activity. `onEvent` is called on a background thread: post to the main one for display. */
class MotionRecognizer(context: Context, private val onEvent: (Event) -> Unit) : SensorEventListener, AutoCloseable {
    private val manager = context.getSystemService(Context.SENSOR_SERVICE) as SensorManager
    private val mujo = context.assets.open("mujo.properties").use { Mujo.read(it) }
    private val model = LiteRtModel(context.assets)
    private val thread = HandlerThread("mujo")

    // A label set of six channels uses the gyroscope where there is one, else only the accelerometer.
    private val gyroscope = manager.getDefaultSensor(Sensor.TYPE_GYROSCOPE)?.takeIf { mujo.labelSet().channels == 6 }
    private val channels = if (gyroscope == null) 3 else 6
    private val recognizer = Recognizer(mujo, mujo.labelSet(), channels, mujo.rateHz, model)
    private val merger = Merger { tS, x -> recognizer.push(tS, x).forEach(onEvent) }

    fun start() {
        val accelerometer = checkNotNull(manager.getDefaultSensor(Sensor.TYPE_ACCELEROMETER)) { "no accelerometer" }
        thread.start()
        val handler = Handler(thread.looper)
        val periodUs = (1e6 / mujo.rateHz).toInt()
        for (sensor in listOfNotNull(accelerometer, gyroscope)) {
            check(manager.registerListener(this, sensor, periodUs, handler)) { "${sensor.name} does not start" }
        }
    }

    override fun onSensorChanged(event: SensorEvent) {
        val tS = event.timestamp * 1e-9
        val v = event.values
        when {
            event.sensor.type == Sensor.TYPE_GYROSCOPE -> merger.gyroscope(tS, v[0], v[1], v[2])
            gyroscope != null -> merger.accelerometer(tS, v[0], v[1], v[2])
            else -> recognizer.push(tS, floatArrayOf(v[0], v[1], v[2])).forEach(onEvent)
        }
    }

    override fun onAccuracyChanged(sensor: Sensor, accuracy: Int) = Unit

    /** Stop for good: to start again, create a new instance. */
    override fun close() {
        manager.unregisterListener(this)
        if (thread.isAlive) {
            Handler(thread.looper).post { model.close() }
            thread.quitSafely()
        } else {
            model.close()
        }
    }
}

/** For a test on the device with golden/ among the assets: differences from Python, the model included. */
fun differences(assets: AssetManager): List<String> =
    LiteRtModel(assets).use { model -> SelfTest.run(SelfTest.Opener { assets.open(it) }, model) }

private const val MODEL = "student_int8_float_io.tflite"
