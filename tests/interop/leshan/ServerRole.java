// Leshan as LwM2M server: registrations, Sends and notifications as events, operations as commands.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import org.eclipse.leshan.core.LwM2m;
import org.eclipse.leshan.core.endpoint.Protocol;
import org.eclipse.leshan.core.link.Link;
import org.eclipse.leshan.core.link.lwm2m.attributes.DefaultLwM2mAttributeParser;
import org.eclipse.leshan.core.link.lwm2m.attributes.LwM2mAttributeSet;
import org.eclipse.leshan.core.node.LwM2mObjectInstance;
import org.eclipse.leshan.core.node.LwM2mPath;
import org.eclipse.leshan.core.node.TimestampedLwM2mNodes;
import org.eclipse.leshan.core.observation.CompositeObservation;
import org.eclipse.leshan.core.observation.Observation;
import org.eclipse.leshan.core.observation.SingleObservation;
import org.eclipse.leshan.core.request.CancelCompositeObservationRequest;
import org.eclipse.leshan.core.request.CancelObservationRequest;
import org.eclipse.leshan.core.request.ContentFormat;
import org.eclipse.leshan.core.request.CreateRequest;
import org.eclipse.leshan.core.request.DeleteRequest;
import org.eclipse.leshan.core.request.DiscoverRequest;
import org.eclipse.leshan.core.request.DownlinkRequest;
import org.eclipse.leshan.core.request.ExecuteRequest;
import org.eclipse.leshan.core.request.ObserveCompositeRequest;
import org.eclipse.leshan.core.request.ObserveRequest;
import org.eclipse.leshan.core.request.ReadCompositeRequest;
import org.eclipse.leshan.core.request.ReadRequest;
import org.eclipse.leshan.core.request.SendRequest;
import org.eclipse.leshan.core.request.WriteAttributesRequest;
import org.eclipse.leshan.core.request.WriteCompositeRequest;
import org.eclipse.leshan.core.request.WriteRequest;
import org.eclipse.leshan.core.request.WriteRequest.Mode;
import org.eclipse.leshan.core.response.CreateResponse;
import org.eclipse.leshan.core.response.DiscoverResponse;
import org.eclipse.leshan.core.response.LwM2mResponse;
import org.eclipse.leshan.core.response.ObserveCompositeResponse;
import org.eclipse.leshan.core.response.ObserveResponse;
import org.eclipse.leshan.core.response.ReadCompositeResponse;
import org.eclipse.leshan.core.response.ReadResponse;
import org.eclipse.leshan.server.LeshanServer;
import org.eclipse.leshan.server.LeshanServerBuilder;
import org.eclipse.leshan.server.californium.endpoint.CaliforniumServerEndpointsProvider;
import org.eclipse.leshan.server.californium.endpoint.coap.CoapServerProtocolProvider;
import org.eclipse.leshan.server.californium.endpoint.coaps.CoapsServerProtocolProvider;
import org.eclipse.leshan.server.model.VersionedModelProvider;
import org.eclipse.leshan.server.observation.ObservationListener;
import org.eclipse.leshan.server.registration.Registration;
import org.eclipse.leshan.server.registration.RegistrationListener;
import org.eclipse.leshan.server.registration.RegistrationUpdate;
import org.eclipse.leshan.server.security.InMemorySecurityStore;
import org.eclipse.leshan.server.security.SecurityInfo;
import org.eclipse.leshan.server.send.SendListener;

final class ServerRole implements Peer.Role, RegistrationListener, ObservationListener, SendListener {
    private static final long TIMEOUT_MS = 15_000;
    private final InMemorySecurityStore store = new InMemorySecurityStore();
    private final LeshanServer server;

    ServerRole(JsonNode config, ObjectNode ready) throws Exception {
        for (JsonNode each : config.get("psk")) {
            store.add(SecurityInfo.newPreSharedKeyInfo(
                    each.get("endpoint").asText(), each.get("identity").asText(), Keys.bytes(each, "key")));
        }
        for (JsonNode each : config.get("x509_endpoints")) store.add(SecurityInfo.newX509CertInfo(each.asText()));
        LeshanServerBuilder builder = new LeshanServerBuilder();
        builder.setSecurityStore(store);
        builder.setObjectModelProvider(new VersionedModelProvider(Values.models(config.get("models"))));
        if (config.hasNonNull("x509")) {
            JsonNode x509 = config.get("x509");
            builder.setPrivateKey(Keys.privateKey(x509));
            builder.setCertificateChain(Keys.chain(x509));
            builder.setTrustedCertificates(Keys.trusted(x509));
        }
        builder.setEndpointsProviders(new CaliforniumServerEndpointsProvider.Builder(
                        new CoapServerProtocolProvider(), new CoapsServerProtocolProvider())
                .addEndpoint("coap://127.0.0.1:0")
                .addEndpoint("coaps://127.0.0.1:0")
                .build());
        server = builder.build();
        server.getRegistrationService().addListener(this);
        server.getObservationService().addListener(this);
        server.getSendService().addListener(this);
        server.start();
        ready.put("coap", server.getEndpoint(Protocol.COAP).getURI().getPort());
        ready.put("coaps", server.getEndpoint(Protocol.COAPS).getURI().getPort());
    }

    @Override
    public void stop() {
        server.destroy();
    }

    // ---- commands ----

    @Override
    public void obey(JsonNode command, ObjectNode answer) throws Exception {
        Registration device =
                server.getRegistrationService().getByEndpoint(command.get("endpoint").asText());
        if (device == null) throw new IllegalStateException("not registered");
        if (command.get("do").asText().equals("forget_observations")) {
            // Leshan's passive cancellation: the next notification is answered by a reset.
            answer.put("count", server.getObservationService().cancelObservations(device));
            return;
        }
        LwM2mResponse response = server.send(device, request(command, device), TIMEOUT_MS);
        if (response == null) {
            answer.put("failed", "timeout");
            return;
        }
        answer.put("code", response.getCode().getCode() / 100 + "."
                + String.format("%02d", response.getCode().getCode() % 100));
        if (response.getErrorMessage() != null) answer.put("message", response.getErrorMessage());
        content(command, response, answer);
    }

    private DownlinkRequest<? extends LwM2mResponse> request(JsonNode command, Registration device)
            throws Exception {
        String path = command.path("path").asText("");
        ContentFormat format = Values.format(command, "format");
        JsonNode values = command.path("values");
        switch (command.get("do").asText()) {
            case "read": return new ReadRequest(format, path);
            case "discover": return new DiscoverRequest(path);
            case "write":
                Mode mode = command.path("mode").asText("replace").equals("replace") ? Mode.REPLACE : Mode.UPDATE;
                return new WriteRequest(mode, format, path, Values.node(new LwM2mPath(path), values));
            case "write_attributes":
                return new WriteAttributesRequest(path, new LwM2mAttributeSet(
                        new DefaultLwM2mAttributeParser().parseUriQuery(command.get("attributes").asText())));
            case "execute": return new ExecuteRequest(path, command.path("arguments").asText(""));
            case "create": return create(path, format, values);
            case "delete": return new DeleteRequest(path);
            case "observe": return new ObserveRequest(format, path);
            case "cancel_observation": return cancel(device, path);
            case "read_composite":
                return new ReadCompositeRequest(format, format, Values.texts(command.get("paths")));
            case "observe_composite":
                return new ObserveCompositeRequest(format, format, Values.texts(command.get("paths")));
            case "cancel_observe_composite": return cancelComposite(device);
            case "write_composite": return new WriteCompositeRequest(format, Values.nodes(values), null);
            default: throw new IllegalArgumentException("unknown command");
        }
    }

    private static CreateRequest create(String path, ContentFormat format, JsonNode values) throws Exception {
        LwM2mPath at = new LwM2mPath(path);
        if (at.isObject()) return new CreateRequest(format, at.getObjectId(), Values.resources(values));
        return new CreateRequest(format, at.getObjectId(),
                new LwM2mObjectInstance(at.getObjectInstanceId(), Values.resources(values)));
    }

    private CancelObservationRequest cancel(Registration device, String path) {
        for (Observation each : server.getObservationService().getObservations(device)) {
            if (each instanceof SingleObservation && ((SingleObservation) each).getPath().toString().equals(path)) {
                return new CancelObservationRequest((SingleObservation) each);
            }
        }
        throw new IllegalStateException("no observation of " + path);
    }

    private CancelCompositeObservationRequest cancelComposite(Registration device) {
        for (Observation each : server.getObservationService().getObservations(device)) {
            if (each instanceof CompositeObservation) {
                return new CancelCompositeObservationRequest((CompositeObservation) each);
            }
        }
        throw new IllegalStateException("no composite observation");
    }

    private static void content(JsonNode command, LwM2mResponse response, ObjectNode answer) {
        if (!response.isSuccess()) return;
        if (response instanceof ReadCompositeResponse) {
            answer.set("values", Values.flat(((ReadCompositeResponse) response).getContent()));
        } else if (response instanceof ReadResponse && ((ReadResponse) response).getContent() != null) {
            LwM2mPath path = new LwM2mPath(command.get("path").asText());
            answer.set("values", Values.flat(path, ((ReadResponse) response).getContent()));
        } else if (response instanceof DiscoverResponse) {
            answer.set("links", links(((DiscoverResponse) response).getObjectLinks()));
        } else if (response instanceof CreateResponse) {
            answer.put("location", ((CreateResponse) response).getLocation());
        }
    }

    private static ArrayNode links(Link[] links) {
        ArrayNode found = Peer.JSON.createArrayNode();
        for (Link each : links) found.add(each.toCoreLinkFormat());
        return found;
    }

    // ---- events ----

    @Override
    public void registered(Registration device, Registration previous, Collection<Observation> ended) {
        ObjectNode event = Peer.event("registered").put("endpoint", device.getEndpoint());
        event.put("lifetime_s", device.getLifeTimeInSec());
        event.put("lwm2m_version", device.getLwM2mVersion().toString());
        event.put("binding", device.getBindingMode().toString());
        event.put("queue_mode", Boolean.TRUE.equals(device.getQueueMode()));
        event.put("identity", device.getClientTransportData().getIdentity().toString());
        event.set("links", links(device.getObjectLinks()));
        Peer.tell(event);
    }

    @Override
    public void updated(RegistrationUpdate update, Registration now, Registration before) {
        ObjectNode event = Peer.event("updated").put("endpoint", now.getEndpoint());
        event.put("lifetime_s", now.getLifeTimeInSec());
        event.set("links", links(now.getObjectLinks()));
        Peer.tell(event);
    }

    @Override
    public void unregistered(
            Registration device, Collection<Observation> ended, boolean expired, Registration next) {
        Peer.tell(Peer.event("deregistered").put("endpoint", device.getEndpoint()).put("expired", expired));
    }

    @Override
    public void newObservation(Observation observation, Registration device) {
        Peer.tell(Peer.event("observing").put("endpoint", device.getEndpoint()));
    }

    @Override
    public void cancelled(Observation observation) {
        Peer.tell(Peer.event("observation_cancelled"));
    }

    @Override
    public void onResponse(SingleObservation observation, Registration device, ObserveResponse response) {
        ObjectNode event = Peer.event("notification").put("endpoint", device.getEndpoint());
        event.put("path", observation.getPath().toString());
        if (response.getContent() != null) {
            event.set("values", Values.flat(observation.getPath(), response.getContent()));
        }
        List<String> times = new ArrayList<>();
        if (response.getTimestampedLwM2mNodes() != null) {
            response.getTimestampedLwM2mNodes().forEach(each -> times.add(String.valueOf(each.getTimestamp())));
        }
        event.set("times", Peer.JSON.valueToTree(times));
        Peer.tell(event);
    }

    @Override
    public void onResponse(
            CompositeObservation observation, Registration device, ObserveCompositeResponse response) {
        ObjectNode event = Peer.event("composite_notification").put("endpoint", device.getEndpoint());
        event.set("values", Values.flat(response.getContent()));
        Peer.tell(event);
    }

    @Override
    public void onError(Observation observation, Registration device, Exception error) {
        Peer.tell(Peer.event("error").put("endpoint", device.getEndpoint()).put("detail", error.toString()));
    }

    @Override
    public void dataReceived(Registration device, TimestampedLwM2mNodes data, SendRequest request) {
        ObjectNode event = Peer.event("send").put("endpoint", device.getEndpoint())
                .put("format", request.getFormat().getCode());
        event.set("values", Values.flat(data.getNodes()));
        event.set("times", Peer.JSON.valueToTree(
                data.getTimestamps().stream().map(String::valueOf).toArray(String[]::new)));
        Peer.tell(event);
    }

    @Override
    public void onError(Registration device, String message, Exception error) {
        Peer.tell(Peer.event("error").put("endpoint", device.getEndpoint())
                .put("detail", message + ": " + error));
    }
}
