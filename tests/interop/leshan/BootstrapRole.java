// Leshan as bootstrap server: one account to write to each configured endpoint.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.eclipse.leshan.core.SecurityMode;
import org.eclipse.leshan.core.endpoint.Protocol;
import org.eclipse.leshan.core.peer.LwM2mPeer;
import org.eclipse.leshan.core.request.BootstrapDownlinkRequest;
import org.eclipse.leshan.core.request.BootstrapRequest;
import org.eclipse.leshan.core.request.ContentFormat;
import org.eclipse.leshan.core.response.LwM2mResponse;
import org.eclipse.leshan.server.bootstrap.BootstrapConfig;
import org.eclipse.leshan.server.bootstrap.BootstrapFailureCause;
import org.eclipse.leshan.server.bootstrap.BootstrapSession;
import org.eclipse.leshan.server.bootstrap.BootstrapSessionListener;
import org.eclipse.leshan.server.bootstrap.InMemoryBootstrapConfigStore;
import org.eclipse.leshan.server.bootstrap.LeshanBootstrapServer;
import org.eclipse.leshan.server.bootstrap.LeshanBootstrapServerBuilder;
import org.eclipse.leshan.server.californium.bootstrap.endpoint.CaliforniumBootstrapServerEndpointsProvider;
import org.eclipse.leshan.server.californium.bootstrap.endpoint.coap.CoapBootstrapServerProtocolProvider;
import org.eclipse.leshan.server.californium.bootstrap.endpoint.coaps.CoapsBootstrapServerProtocolProvider;
import org.eclipse.leshan.server.security.BootstrapSecurityStoreAdapter;
import org.eclipse.leshan.server.security.InMemorySecurityStore;
import org.eclipse.leshan.server.security.SecurityInfo;

final class BootstrapRole implements Peer.Role, BootstrapSessionListener {
    private final InMemoryBootstrapConfigStore accounts = new InMemoryBootstrapConfigStore();
    private final InMemorySecurityStore store = new InMemorySecurityStore();
    private final LeshanBootstrapServer server;

    BootstrapRole(JsonNode config, ObjectNode ready) throws Exception {
        for (JsonNode each : config.get("psk")) {
            store.add(SecurityInfo.newPreSharedKeyInfo(
                    each.get("endpoint").asText(), each.get("identity").asText(), Keys.bytes(each, "key")));
        }
        for (JsonNode each : config.get("x509_endpoints")) store.add(SecurityInfo.newX509CertInfo(each.asText()));
        LeshanBootstrapServerBuilder builder = new LeshanBootstrapServerBuilder();
        builder.setConfigStore(accounts);
        builder.setSecurityStore(new BootstrapSecurityStoreAdapter(store));
        if (config.hasNonNull("x509")) {
            JsonNode x509 = config.get("x509");
            builder.setPrivateKey(Keys.privateKey(x509));
            builder.setCertificateChain(Keys.chain(x509));
            builder.setTrustedCertificates(Keys.trusted(x509));
        }
        builder.setEndpointsProviders(new CaliforniumBootstrapServerEndpointsProvider.Builder(
                        new CoapBootstrapServerProtocolProvider(), new CoapsBootstrapServerProtocolProvider())
                .addEndpoint("coap://127.0.0.1:0")
                .addEndpoint("coaps://127.0.0.1:0")
                .build());
        server = builder.build();
        server.addListener(this);
        server.start();
        ready.put("coap", server.getEndpoint(Protocol.COAP).getURI().getPort());
        ready.put("coaps", server.getEndpoint(Protocol.COAPS).getURI().getPort());
    }

    @Override
    public void stop() {
        server.destroy();
    }

    @Override
    public void obey(JsonNode command, ObjectNode answer) throws Exception {
        if (!command.get("do").asText().equals("account")) throw new IllegalArgumentException("unknown command");
        BootstrapConfig config = new BootstrapConfig();
        config.autoIdForSecurityObject = command.path("discover").asBoolean(true);
        config.contentFormat = command.hasNonNull("format")
                ? ContentFormat.fromCode(command.get("format").asInt())
                : null;
        config.toDelete = Arrays.asList(Values.texts(command.path("delete")));
        BootstrapConfig.ServerSecurity security = new BootstrapConfig.ServerSecurity();
        security.uri = command.get("uri").asText();
        security.bootstrapServer = false;
        security.serverId = command.get("short_server_id").asInt();
        security.securityMode = SecurityMode.valueOf(command.get("mode").asText());
        if (security.securityMode == SecurityMode.PSK) {
            security.publicKeyOrId = command.get("identity").asText().getBytes(StandardCharsets.UTF_8);
            security.secretKey = Keys.bytes(command, "key");
        } else if (security.securityMode == SecurityMode.X509) {
            security.publicKeyOrId = Keys.bytes(command, "certificate");
            security.secretKey = Keys.bytes(command, "key");
            security.serverPublicKey = Keys.bytes(command, "server_certificate");
        }
        config.security.put(command.path("security_instance").asInt(0), security);
        BootstrapConfig.ServerConfig account = new BootstrapConfig.ServerConfig();
        account.shortId = security.serverId;
        account.lifetime = command.path("lifetime_s").asInt(300);
        config.servers.put(0, account);
        accounts.remove(command.get("endpoint").asText());
        accounts.add(command.get("endpoint").asText(), config);
        answer.put("done", true);
    }

    private static void tell(String kind, BootstrapSession session, String detail) {
        Peer.tell(Peer.event(kind).put("endpoint", session.getEndpoint()).put("detail", detail));
    }

    @Override
    public void sessionInitiated(BootstrapRequest request, LwM2mPeer peer) {
        Peer.tell(Peer.event("bootstrap_request").put("endpoint", request.getEndpointName())
                .put("detail", request.toString()));
    }

    @Override
    public void unAuthorized(BootstrapRequest request, LwM2mPeer peer) {
        Peer.tell(Peer.event("bootstrap_unauthorized").put("endpoint", request.getEndpointName()));
    }

    @Override
    public void authorized(BootstrapSession session) {}

    @Override
    public void noConfig(BootstrapSession session) {
        tell("bootstrap_failed", session, "no configuration");
    }

    @Override
    public void sendRequest(BootstrapSession session, BootstrapDownlinkRequest<? extends LwM2mResponse> request) {}

    @Override
    public void onResponseSuccess(BootstrapSession session,
            BootstrapDownlinkRequest<? extends LwM2mResponse> request, LwM2mResponse response) {
        tell("bootstrap_step", session, request.getClass().getSimpleName() + " " + request.getPath()
                + " " + response.getCode());
    }

    @Override
    public void onResponseError(BootstrapSession session,
            BootstrapDownlinkRequest<? extends LwM2mResponse> request, LwM2mResponse response) {
        tell("bootstrap_refused", session, request.getClass().getSimpleName() + " " + request.getPath()
                + " " + response.getCode() + " " + response.getErrorMessage());
    }

    @Override
    public void onRequestFailure(BootstrapSession session,
            BootstrapDownlinkRequest<? extends LwM2mResponse> request, Throwable cause) {
        tell("bootstrap_refused", session, request.getClass().getSimpleName() + ": " + cause);
    }

    @Override
    public void end(BootstrapSession session) {
        tell("bootstrapped", session, "");
    }

    @Override
    public void failed(BootstrapSession session, BootstrapFailureCause cause) {
        tell("bootstrap_failed", session, cause.toString());
    }
}
