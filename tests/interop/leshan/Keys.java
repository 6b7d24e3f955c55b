// Keys and certificates of the configuration: DER in hex.

import com.fasterxml.jackson.databind.JsonNode;
import java.io.ByteArrayInputStream;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import org.eclipse.leshan.core.util.Hex;

final class Keys {
    private Keys() {}

    static byte[] bytes(JsonNode config, String name) {
        return Hex.decodeHex(config.get(name).asText().toCharArray());
    }

    static PrivateKey privateKey(JsonNode config) throws Exception {
        return KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(bytes(config, "key")));
    }

    static X509Certificate certificate(JsonNode config, String name) throws Exception {
        return (X509Certificate) CertificateFactory.getInstance("X.509")
                .generateCertificate(new ByteArrayInputStream(bytes(config, name)));
    }

    static X509Certificate[] chain(JsonNode config) throws Exception {
        return new X509Certificate[] {certificate(config, "certificate")};
    }

    static Certificate[] trusted(JsonNode config) throws Exception {
        return new Certificate[] {certificate(config, "authority")};
    }
}
