// Receives notifications of jobwarden: gradle run --args="SECRET_FILE PORT"
import com.standardwebhooks.Webhook
import com.standardwebhooks.exceptions.WebhookVerificationException
import com.sun.net.httpserver.HttpExchange
import com.sun.net.httpserver.HttpServer
import java.io.File
import java.net.InetSocketAddress
import java.util.concurrent.ConcurrentHashMap

fun main(args: Array<String>) {
    // Two while the secret is being replaced.
    val secrets = File(args[0]).readLines().filter { it.isNotBlank() }.map { Webhook(it.trim()) }
    // In production a table with a unique key, in the transaction that changes the state of the job.
    val seen = ConcurrentHashMap.newKeySet<String>()
    val server = HttpServer.create(InetSocketAddress("127.0.0.1", args[1].toInt()), 0)
    server.createContext("/") { request ->
        val body = request.requestBody.readBytes().decodeToString()
        val headers = request.requestHeaders.mapKeys { it.key.lowercase() }
        if (secrets.any { it.accepts(body, headers) }) {
            val id = request.requestHeaders.getFirst("webhook-id")
            println("$id${if (seen.add(id)) "" else " again"}: ${body.replace(Regex("\\p{C}"), "?")}")
            request.answer(204) // Only now: what is not acknowledged comes again.
        } else {
            request.answer(401)
        }
    }
    server.start()
}

private fun Webhook.accepts(body: String, headers: Map<String, List<String>>): Boolean =
    try { verify(body, headers); true } catch (_: WebhookVerificationException) { false }

private fun HttpExchange.answer(status: Int) {
    sendResponseHeaders(status, -1)
    close()
}
