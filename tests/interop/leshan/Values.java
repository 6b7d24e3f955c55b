// LwM2M values between Leshan's nodes and JSON: [path, type, value] triples and object models.
// Opaque is hex, time is Unix seconds, an object link "o:i".

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import java.util.ArrayList;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.eclipse.leshan.core.link.DefaultLinkParser;
import org.eclipse.leshan.core.link.DefaultLinkSerializer;
import org.eclipse.leshan.core.link.Link;
import org.eclipse.leshan.core.model.ObjectLoader;
import org.eclipse.leshan.core.model.ObjectModel;
import org.eclipse.leshan.core.model.ResourceModel;
import org.eclipse.leshan.core.model.ResourceModel.Operations;
import org.eclipse.leshan.core.model.ResourceModel.Type;
import org.eclipse.leshan.core.node.LwM2mMultipleResource;
import org.eclipse.leshan.core.node.LwM2mNode;
import org.eclipse.leshan.core.node.LwM2mObject;
import org.eclipse.leshan.core.node.LwM2mObjectInstance;
import org.eclipse.leshan.core.node.LwM2mPath;
import org.eclipse.leshan.core.node.LwM2mResource;
import org.eclipse.leshan.core.node.LwM2mResourceInstance;
import org.eclipse.leshan.core.node.LwM2mSingleResource;
import org.eclipse.leshan.core.node.ObjectLink;
import org.eclipse.leshan.core.request.ContentFormat;
import org.eclipse.leshan.core.util.Hex;
import org.eclipse.leshan.core.util.datatype.ULong;

final class Values {
    private Values() {}

    static ContentFormat format(JsonNode command, String name) {
        return command.hasNonNull(name) ? ContentFormat.fromCode(command.get(name).asInt()) : null;
    }

    static String[] texts(JsonNode list) {
        List<String> found = new ArrayList<>();
        list.forEach(each -> found.add(each.asText()));
        return found.toArray(new String[0]);
    }

    // ---- out ----

    static ArrayNode flat(LwM2mPath base, LwM2mNode node) {
        ArrayNode into = Peer.JSON.createArrayNode();
        flatten(into, base, node);
        return into;
    }

    static ArrayNode flat(Map<LwM2mPath, LwM2mNode> nodes) {
        ArrayNode into = Peer.JSON.createArrayNode();
        new TreeMap<>(nodes).forEach((path, node) -> {
            if (node != null) flatten(into, path, node);
        });
        return into;
    }

    private static void flatten(ArrayNode into, LwM2mPath path, LwM2mNode node) {
        if (node instanceof LwM2mObject) {
            ((LwM2mObject) node).getInstances().forEach((id, each) -> flatten(into, path.append(id), each));
        } else if (node instanceof LwM2mObjectInstance) {
            // A response to a request for an object's only instance may have been asked by object.
            LwM2mPath at = path.isObject() ? path.append(((LwM2mObjectInstance) node).getId()) : path;
            ((LwM2mObjectInstance) node).getResources().forEach((id, each) -> flatten(into, at.append(id), each));
        } else if (node instanceof LwM2mResource && ((LwM2mResource) node).isMultiInstances()) {
            ((LwM2mResource) node).getInstances().forEach((id, each) -> flatten(into, path.append(id), each));
        } else if (node instanceof LwM2mResource) {
            LwM2mResource single = (LwM2mResource) node;
            put(into, path, single.getType(), single.getValue());
        } else if (node instanceof LwM2mResourceInstance) {
            LwM2mResourceInstance one = (LwM2mResourceInstance) node;
            put(into, path, one.getType(), one.getValue());
        }
    }

    private static void put(ArrayNode into, LwM2mPath path, Type type, Object value) {
        ArrayNode triple = into.addArray().add(path.toString()).add(NAMES.get(type));
        switch (type) {
            case BOOLEAN: triple.add((Boolean) value); break;
            case FLOAT: triple.add(((Number) value).doubleValue()); break;
            case INTEGER: triple.add(((Number) value).longValue()); break;
            case UNSIGNED_INTEGER: triple.add(((ULong) value).toString()); break;
            case TIME: triple.add(((Date) value).getTime() / 1000); break;
            case OPAQUE: triple.add(Hex.encodeHexString((byte[]) value)); break;
            case OBJLNK:
                ObjectLink link = (ObjectLink) value;
                triple.add(link.getObjectId() + ":" + link.getObjectInstanceId());
                break;
            case CORELINK:
                triple.add(new DefaultLinkSerializer().serializeCoreLinkFormat((Link[]) value));
                break;
            default: triple.add(String.valueOf(value));
        }
    }

    // ---- in ----

    static Object value(Type type, JsonNode value) throws Exception {
        switch (type) {
            case BOOLEAN: return value.asBoolean();
            case FLOAT: return value.asDouble();
            case INTEGER: return value.asLong();
            case UNSIGNED_INTEGER: return ULong.valueOf(value.asText());
            case TIME: return new Date(value.asLong() * 1000);
            case OPAQUE: return Hex.decodeHex(value.asText().toCharArray());
            case OBJLNK: return ObjectLink.decodeFromString(value.asText());
            case CORELINK: return new DefaultLinkParser().parseCoreLinkFormat(value.asText().getBytes());
            default: return value.asText();
        }
    }

    static Type type(String name) {
        for (Map.Entry<Type, String> each : NAMES.entrySet()) {
            if (each.getValue().equals(name)) return each.getKey();
        }
        throw new IllegalArgumentException("no type " + name);
    }

    /** The resources of one instance, from triples whose paths may end at a resource instance. */
    static List<LwM2mResource> resources(JsonNode triples) throws Exception {
        Map<Integer, LwM2mResource> single = new LinkedHashMap<>();
        Map<Integer, Map<Integer, Object>> multiple = new LinkedHashMap<>();
        Map<Integer, Type> types = new LinkedHashMap<>();
        for (JsonNode triple : triples) {
            LwM2mPath path = new LwM2mPath(triple.get(0).asText());
            Type type = type(triple.get(1).asText());
            Object value = value(type, triple.get(2));
            int resource = path.getResourceId();
            if (path.isResourceInstance()) {
                types.put(resource, type);
                multiple.computeIfAbsent(resource, id -> new LinkedHashMap<>())
                        .put(path.getResourceInstanceId(), value);
            } else {
                single.put(resource, LwM2mSingleResource.newResource(resource, value, type));
            }
        }
        List<LwM2mResource> found = new ArrayList<>(single.values());
        multiple.forEach((id, values) ->
                found.add(LwM2mMultipleResource.newResource(id, values, types.get(id))));
        return found;
    }

    /** The node to write to `path`, from triples. */
    static LwM2mNode node(LwM2mPath path, JsonNode triples) throws Exception {
        if (path.isResourceInstance()) {
            Type type = type(triples.get(0).get(1).asText());
            return LwM2mResourceInstance.newInstance(
                    path.getResourceInstanceId(), value(type, triples.get(0).get(2)), type);
        }
        List<LwM2mResource> resources = resources(triples);
        if (path.isResource()) return resources.get(0);
        return new LwM2mObjectInstance(path.getObjectInstanceId(), resources);
    }

    static Map<LwM2mPath, LwM2mNode> nodes(JsonNode triples) throws Exception {
        Map<LwM2mPath, LwM2mNode> found = new LinkedHashMap<>();
        for (JsonNode triple : triples) {
            LwM2mPath path = new LwM2mPath(triple.get(0).asText());
            found.put(path, node(path, Peer.JSON.createArrayNode().add(triple)));
        }
        return found;
    }

    // ---- models ----

    private static final Map<Type, String> NAMES = new LinkedHashMap<>();

    static {
        NAMES.put(Type.STRING, "string");
        NAMES.put(Type.INTEGER, "integer");
        NAMES.put(Type.UNSIGNED_INTEGER, "unsigned");
        NAMES.put(Type.FLOAT, "float");
        NAMES.put(Type.BOOLEAN, "boolean");
        NAMES.put(Type.OPAQUE, "opaque");
        NAMES.put(Type.TIME, "time");
        NAMES.put(Type.OBJLNK, "objlnk");
        NAMES.put(Type.CORELINK, "corelnk");
        NAMES.put(Type.NONE, "none");
    }

    /** Leshan's own models of the core objects, and the given ones of others. */
    static List<ObjectModel> models(JsonNode others) {
        Map<String, ObjectModel> found = new LinkedHashMap<>();
        for (ObjectModel each : ObjectLoader.loadAllDefault()) found.put(each.id + "_" + each.version, each);
        for (JsonNode each : others) {
            String key = each.get("id").asInt() + "_" + each.get("version").asText();
            found.putIfAbsent(key, model(each));
        }
        return new ArrayList<>(found.values());
    }

    private static ObjectModel model(JsonNode each) {
        List<ResourceModel> resources = new ArrayList<>();
        for (JsonNode one : each.get("resources")) {
            resources.add(new ResourceModel(
                    one.get("id").asInt(),
                    one.get("name").asText(),
                    operations(one.get("operations").asText()),
                    one.get("multiple").asBoolean(),
                    one.get("mandatory").asBoolean(),
                    type(one.get("type").asText()),
                    "", "", ""));
        }
        return new ObjectModel(
                each.get("id").asInt(),
                each.get("name").asText(),
                "",
                each.get("version").asText(),
                each.get("multiple").asBoolean(),
                each.get("mandatory").asBoolean(),
                resources);
    }

    private static Operations operations(String letters) {
        return letters.isEmpty() ? Operations.NONE : Operations.valueOf(letters);
    }
}
