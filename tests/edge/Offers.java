import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** What Java's HttpClient sends by default: every request on a new connection offers h2c. */
public class Offers {
    public static void main(String[] args) throws Exception {
        var publish = HttpRequest.newBuilder(URI.create(args[0] + "/v1/streams/events/messages"))
            .header("Content-Type", "application/x-ndjson")
            .POST(HttpRequest.BodyPublishers.ofString("{\"collection_id\":\"a:b\",\"data\":1}\n{\"collection_id\":\"a:b\",\"data\":2}\n"));
        for (int i = 0; i < 3; i++) {
            var answer = HttpClient.newHttpClient().send(publish.build(), HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.version() + " " + answer.statusCode() + " " + answer.body().contains("\"info\":{\"created\":2}"));
        }
        var client = HttpClient.newHttpClient();
        for (int i = 0; i < 3; i++) {
            var read = HttpRequest.newBuilder(URI.create(args[0] + "/v1/streams/events")).build();
            System.out.println(client.send(read, HttpResponse.BodyHandlers.ofString()).body().contains("\"messages\":6"));
        }
    }
}
