// Reads a queue to its end as ORT Server's orchestrator does, and prints a line of JSON for each message: `accepted` with what was read, or
// `refused` with the reason, where the orchestrator would log an error and lose the message.
//
// Environment: BROKER_URI, BROKER_QUEUE, BROKER_USER, BROKER_PASSWORD. Arguments: `rabbitMQ` or `activeMQ`, the names of ORT's transports;
// and `follow`, to wait for more messages of RabbitMQ until it is killed.
package ortreader

import com.rabbitmq.client.AMQP
import com.rabbitmq.client.CancelCallback
import com.rabbitmq.client.ConnectionFactory
import com.rabbitmq.client.DeliverCallback
import jakarta.jms.Message
import jakarta.jms.Session
import jakarta.jms.TextMessage
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import org.apache.qpid.jms.JmsConnectionFactory
import org.eclipse.apoapsis.ortserver.model.orchestrator.OrchestratorMessage
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit

/** After so long without a message the queue is taken to be empty. */
const val SILENCE_MILLIS = 2000L

class Read(val id: String?, val traceId: String, val runId: Long, val persistent: Boolean, val message: OrchestratorMessage)

fun env(name: String): String = System.getenv(name) ?: error("$name is not set")

fun report(read: () -> Read) {
    val line = runCatching(read).fold(
        { buildJsonObject {
            put("accepted", it.id)
            put("traceId", it.traceId)
            put("runId", it.runId)
            put("persistent", it.persistent)
            put("message", JsonPrimitive(it.message.toString()))
        } },
        { buildJsonObject { put("refused", it.toString()) } },
    )
    println(line)
    System.out.flush()
}

/** Headers and body as the transport `rabbitMQ` reads them, acknowledged on receipt. */
fun readRabbitMq(follow: Boolean) {
    val factory = ConnectionFactory().apply {
        setUri(env("BROKER_URI"))
        username = env("BROKER_USER")
        password = env("BROKER_PASSWORD")
    }
    factory.newConnection().use { connection ->
        val received = LinkedBlockingQueue<Pair<AMQP.BasicProperties, ByteArray>>()
        val onMessage = DeliverCallback { _, delivery -> received.put(delivery.properties to delivery.body) }
        connection.createChannel().basicConsume(env("BROKER_QUEUE"), true, onMessage, CancelCallback { })
        while (true) {
            val next = if (follow) received.take() else received.poll(SILENCE_MILLIS, TimeUnit.MILLISECONDS)
            val (properties, body) = next ?: break
            report {
                Read(
                    properties.messageId,
                    properties.headers["traceId"].toString(),
                    properties.headers["runId"] as Long,
                    properties.deliveryMode == 2,
                    Json.decodeFromString<OrchestratorMessage>(String(body, Charsets.UTF_8)),
                )
            }
        }
    }
}

/** Properties and body as the transport `activeMQ` reads them. */
fun readActiveMq() {
    val factory = JmsConnectionFactory(env("BROKER_USER"), env("BROKER_PASSWORD"), env("BROKER_URI"))
    factory.createConnection().use { connection ->
        connection.start()
        val session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE)
        val consumer = session.createConsumer(session.createQueue(env("BROKER_QUEUE")))
        while (true) {
            val message: Message = consumer.receive(SILENCE_MILLIS) ?: break
            report {
                Read(
                    message.jmsMessageID,
                    message.getStringProperty("traceId"),
                    message.getObjectProperty("runId") as Long,
                    message.jmsDeliveryMode == jakarta.jms.DeliveryMode.PERSISTENT,
                    Json.decodeFromString<OrchestratorMessage>((message as TextMessage).text),
                )
            }
        }
    }
}

fun main(arguments: Array<String>) {
    when (val transport = arguments.first()) {
        "rabbitMQ" -> readRabbitMq(follow = "follow" in arguments)
        "activeMQ" -> readActiveMq()
        else -> error("unknown transport $transport")
    }
}
