// Leshan as LwM2M client: objects 1, 3 and 3303 (three instances), and when their models are given the
// test object, and those of the MQTT broker and its publications without an instance; what servers
// write and execute is told as events.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.eclipse.leshan.client.LeshanClient;
import org.eclipse.leshan.client.LeshanClientBuilder;
import org.eclipse.leshan.client.californium.endpoint.CaliforniumClientEndpointsProvider;
import org.eclipse.leshan.client.californium.endpoint.coap.CoapClientProtocolProvider;
import org.eclipse.leshan.client.californium.endpoint.coaps.CoapsClientProtocolProvider;
import org.eclipse.leshan.client.engine.DefaultRegistrationEngineFactory;
import org.eclipse.leshan.client.object.LwM2mTestObject;
import org.eclipse.leshan.client.object.Security;
import org.eclipse.leshan.client.object.Server;
import org.eclipse.leshan.client.observer.LwM2mClientObserverAdapter;
import org.eclipse.leshan.client.resource.LwM2mInstanceEnabler;
import org.eclipse.leshan.client.resource.ObjectEnabler;
import org.eclipse.leshan.client.resource.ObjectsInitializer;
import org.eclipse.leshan.client.resource.SimpleInstanceEnabler;
import org.eclipse.leshan.client.servers.LwM2mServer;
import org.eclipse.leshan.core.ResponseCode;
import org.eclipse.leshan.core.model.StaticModel;
import org.eclipse.leshan.core.node.LwM2mPath;
import org.eclipse.leshan.core.node.LwM2mResource;
import org.eclipse.leshan.core.request.BootstrapRequest;
import org.eclipse.leshan.core.request.RegisterRequest;
import org.eclipse.leshan.core.request.UpdateRequest;
import org.eclipse.leshan.core.request.argument.Arguments;
import org.eclipse.leshan.core.response.ExecuteResponse;
import org.eclipse.leshan.core.response.SendResponse;
import org.eclipse.leshan.core.response.WriteResponse;

final class ClientRole extends LwM2mClientObserverAdapter implements Peer.Role {
    private static final int TEMPERATURE = 3303;
    private static final int TEST_OBJECT = 3442;
    private static final int[] CREDENTIALS = {18830, 18831};
    private static final long TIMEOUT_MS = 15_000;
    private final LeshanClient client;

    ClientRole(JsonNode config) throws Exception {
        StaticModel model = new StaticModel(Values.models(config.get("models")));
        ObjectsInitializer objects = new ObjectsInitializer(model);
        objects.setInstancesForObject(0, security(config));
        if (!config.path("bootstrap").asBoolean()) {
            objects.setInstancesForObject(1, new Server(config.get("short_server_id").asInt(),
                    config.path("lifetime_s").asLong(300)));
        } else {
            objects.setClassForObject(1, Server.class);
        }
        objects.setInstancesForObject(3, new Told(0, values(
                0, "Eclipse Leshan", 1, "interop", 2, "42", 9, 77L, 13, new java.util.Date(1_700_000_000_000L),
                11, java.util.Collections.singletonMap(0, 0L), 14, "+01:00", 16, "U")));
        objects.setInstancesForObject(TEMPERATURE,
                new Told(0, values(5700, 21.5, 5701, "Cel", 5601, -3.25, 5602, 30.0)),
                new Told(1, values(5700, -0.5, 5701, "Cel")),
                new Told(2, values(5700, 7.0, 5701, "Cel", 5750, "to be replaced")));
        objects.setClassForObject(TEMPERATURE, Told.class);
        List<Integer> ids = new ArrayList<>(Arrays.asList(0, 1, 3, TEMPERATURE));
        if (model.getObjectModel(TEST_OBJECT) != null) {
            objects.setInstancesForObject(TEST_OBJECT, new LwM2mTestObject());
            objects.setClassForObject(TEST_OBJECT, LwM2mTestObject.class);
            ids.add(TEST_OBJECT);
        }
        for (int id : CREDENTIALS) {
            if (model.getObjectModel(id) == null) continue;
            objects.setClassForObject(id, Told.class);
            ids.add(id);
        }
        LeshanClientBuilder builder = new LeshanClientBuilder(config.get("endpoint").asText());
        builder.setObjects(objects.create(ids.stream().mapToInt(Integer::intValue).toArray()));
        DefaultRegistrationEngineFactory engine = new DefaultRegistrationEngineFactory();
        engine.setQueueMode(config.path("queue_mode").asBoolean());
        builder.setRegistrationEngineFactory(engine);
        builder.setEndpointsProviders(new CaliforniumClientEndpointsProvider.Builder(
                new CoapClientProtocolProvider(), new CoapsClientProtocolProvider()).build());
        client = builder.build();
        client.addObserver(this);
        client.start();
    }

    @Override
    public void stop() {
        client.destroy(true);
    }

    private static Security security(JsonNode config) throws Exception {
        String uri = config.get("uri").asText();
        boolean bootstraps = config.path("bootstrap").asBoolean();
        int shortId = config.path("short_server_id").asInt(0);
        switch (config.get("mode").asText()) {
            case "psk":
                byte[] identity = config.get("identity").asText().getBytes(StandardCharsets.UTF_8);
                byte[] key = Keys.bytes(config, "key");
                return bootstraps
                        ? Security.pskBootstrap(uri, identity, key)
                        : Security.psk(uri, shortId, identity, key);
            case "x509":
                byte[] own = Keys.bytes(config, "certificate");
                byte[] secret = Keys.bytes(config, "key");
                byte[] server = Keys.bytes(config, "server_certificate");
                return bootstraps
                        ? Security.x509Bootstrap(uri, own, secret, server)
                        : Security.x509(uri, shortId, own, secret, server);
            default:
                return bootstraps ? Security.noSecBootstrap(uri) : Security.noSec(uri, shortId);
        }
    }

    private static Map<Integer, Object> values(Object... pairs) {
        Map<Integer, Object> found = new HashMap<>();
        for (int at = 0; at < pairs.length; at += 2) found.put((Integer) pairs[at], pairs[at + 1]);
        return found;
    }

    // ---- commands ----

    @Override
    public void obey(JsonNode command, ObjectNode answer) throws Exception {
        switch (command.get("do").asText()) {
            case "set":
                for (JsonNode triple : command.get("values")) set(triple);
                break;
            case "update":
                client.triggerRegistrationUpdate();
                break;
            case "restart":
                client.stop(true);
                client.start();
                break;
            case "create":
                LwM2mPath path = new LwM2mPath(command.get("path").asText());
                ((ObjectEnabler) client.getObjectTree().getObjectEnabler(path.getObjectId()))
                        .addInstance(path.getObjectInstanceId(),
                                new Told(path.getObjectInstanceId(), values(5700, 0.0, 5701, "Cel")));
                break;
            case "send":
                LwM2mServer server = client.getRegisteredServers().values().iterator().next();
                SendResponse response = client.getSendService().sendData(server,
                        Values.format(command, "format"), Arrays.asList(Values.texts(command.get("paths"))), TIMEOUT_MS);
                answer.put("code", response == null ? "timeout" : response.getCode().toString());
                break;
            default:
                throw new IllegalArgumentException("unknown command");
        }
        answer.put("done", true);
    }

    private void set(JsonNode triple) throws Exception {
        LwM2mPath path = new LwM2mPath(triple.get(0).asText());
        ObjectEnabler object = (ObjectEnabler) client.getObjectTree().getObjectEnabler(path.getObjectId());
        LwM2mInstanceEnabler instance = object.getInstance(path.getObjectInstanceId());
        ((Told) instance).put((LwM2mResource) Values.node(path, Peer.JSON.createArrayNode().add(triple)));
    }

    /** An instance that tells what servers do to it. */
    public static final class Told extends SimpleInstanceEnabler {
        public Told() {}

        Told(int id, Map<Integer, Object> values) {
            super(id, values);
        }

        void put(LwM2mResource resource) {
            resources.put(resource.getId(), resource);
            fireResourceChange(resource.getId());
        }

        @Override
        public WriteResponse write(LwM2mServer server, boolean replace, int id, LwM2mResource value) {
            WriteResponse response = super.write(server, replace, id, value);
            ObjectNode event = Peer.event("written").put("code", response.getCode().toString());
            event.set("values", Values.flat(getResourcePath(id), value));
            Peer.tell(event);
            return response;
        }

        @Override
        public ExecuteResponse execute(LwM2mServer server, int id, Arguments arguments) {
            ObjectNode event = Peer.event("executed").put("path", getResourcePath(id).toString());
            event.put("arguments", arguments.serialize() == null ? "" : arguments.serialize());
            Peer.tell(event);
            return ExecuteResponse.success();
        }
    }

    // ---- events ----

    @Override
    public void onBootstrapSuccess(LwM2mServer server, BootstrapRequest request) {
        Peer.tell(Peer.event("bootstrapped"));
    }

    @Override
    public void onBootstrapFailure(LwM2mServer server, BootstrapRequest request, ResponseCode code,
            String message, Exception cause) {
        Peer.tell(Peer.event("bootstrap_failed").put("detail", code + " " + message + " " + cause));
    }

    @Override
    public void onBootstrapTimeout(LwM2mServer server, BootstrapRequest request) {
        Peer.tell(Peer.event("bootstrap_failed").put("detail", "timeout"));
    }

    @Override
    public void onRegistrationSuccess(LwM2mServer server, RegisterRequest request, String id) {
        Peer.tell(Peer.event("registered").put("detail", id));
    }

    @Override
    public void onRegistrationFailure(LwM2mServer server, RegisterRequest request, ResponseCode code,
            String message, Exception cause) {
        Peer.tell(Peer.event("registration_failed").put("detail", code + " " + message + " " + cause));
    }

    @Override
    public void onRegistrationTimeout(LwM2mServer server, RegisterRequest request) {
        Peer.tell(Peer.event("registration_failed").put("detail", "timeout"));
    }

    @Override
    public void onUpdateSuccess(LwM2mServer server, UpdateRequest request) {
        Peer.tell(Peer.event("updated"));
    }
}
