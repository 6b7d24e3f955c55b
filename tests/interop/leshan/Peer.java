// The Eclipse Leshan peer of the interoperability tests: one process, one role, JSON lines.
//
// Standard input: first a configuration {"role": "server" | "bootstrap" | "client", ...}, then
// commands {"id": n, "do": ..., ...}. Standard output: {"ready": {...}} once, then answers
// {"id": n, ...} and events {"event": ...}. Keys come in by standard input, never by arguments.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

public final class Peer {
    static final ObjectMapper JSON = new ObjectMapper();

    /** What a role does with a command; fills the answer. */
    interface Role {
        void obey(JsonNode command, ObjectNode answer) throws Exception;

        void stop();
    }

    private Peer() {}

    static synchronized void tell(ObjectNode line) {
        System.out.println(line);
        System.out.flush();
    }

    static ObjectNode line() {
        return JSON.createObjectNode();
    }

    static ObjectNode event(String kind) {
        return line().put("event", kind);
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader input =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        JsonNode config = JSON.readTree(input.readLine());
        ObjectNode ready = line();
        Role role = start(config, ready);
        tell((ObjectNode) line().set("ready", ready));
        // A command that waits for its device must not hold up the next one.
        ExecutorService workers = Executors.newCachedThreadPool();
        for (String text = input.readLine(); text != null; text = input.readLine()) {
            JsonNode command = JSON.readTree(text);
            workers.submit(() -> carryOut(role, command));
        }
        role.stop();
        System.exit(0);
    }

    private static Role start(JsonNode config, ObjectNode ready) throws Exception {
        switch (config.get("role").asText()) {
            case "server":
                return new ServerRole(config, ready);
            case "bootstrap":
                return new BootstrapRole(config, ready);
            case "client":
                return new ClientRole(config);
            default:
                throw new IllegalArgumentException("unknown role");
        }
    }

    private static void carryOut(Role role, JsonNode command) {
        ObjectNode answer = line().put("id", command.get("id").asInt());
        try {
            role.obey(command, answer);
        } catch (Throwable error) {
            // The peer's own words are what the matrix shows as its limit.
            Throwable cause = error.getCause() == null ? error : error.getCause();
            answer.put("failed", cause.getClass().getSimpleName() + ": " + cause.getMessage());
        }
        tell(answer);
    }
}
