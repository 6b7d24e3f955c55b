import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Path;
import org.neo4j.configuration.GraphDatabaseSettings;
import org.neo4j.configuration.connectors.BoltConnector;
import org.neo4j.configuration.helpers.SocketAddress;
import org.neo4j.dbms.api.DatabaseManagementService;
import org.neo4j.dbms.api.DatabaseManagementServiceBuilder;

/** A Neo4j that serves Bolt on 127.0.0.1: FOLDER PORT. Told start, stop on its standard input, it
 *  answers ready, stopped; its data stay in the folder. It ends with its input. */
public final class Neo4jPeer {
    public static void main(String[] arguments) {
        try {
            obey(arguments);
        } catch (Throwable failed) {
            failed.printStackTrace();
            // Its threads would keep the process.
            Runtime.getRuntime().halt(1);
        }
    }

    private static void obey(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        int port = Integer.parseInt(arguments[1]);
        BufferedReader told = new BufferedReader(new InputStreamReader(System.in));
        DatabaseManagementService running = null;
        for (String line = told.readLine(); line != null; line = told.readLine()) {
            if (line.equals("start")) {
                running = started(folder, port);
                System.out.println("\nready");
            } else if (line.equals("stop")) {
                running.shutdown();
                running = null;
                System.out.println("\nstopped");
            }
        }
        if (running != null) {
            running.shutdown();
        }
    }

    private static DatabaseManagementService started(Path folder, int port) {
        return new DatabaseManagementServiceBuilder(folder)
                .setConfig(GraphDatabaseSettings.auth_enabled, false)
                .setConfig(BoltConnector.enabled, true)
                .setConfig(BoltConnector.listen_address, new SocketAddress("127.0.0.1", port))
                .build();
    }
}
