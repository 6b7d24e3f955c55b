// Acknowledging an alarm: somebody has seen it.

import { useState } from "preact/hooks";
import { useApp } from "../context.js";
import { isAcknowledged, isOpen } from "../lib/alarms.js";
import { Badge, Button } from "../ui/basics.jsx";

export function Acknowledge({ alarm, onDone }) {
  const { api, tell } = useApp();
  const [isBusy, setBusy] = useState(false);
  if (isAcknowledged(alarm)) return <Badge tone="good">{alarm.acknowledged_by ? `Seen by ${alarm.acknowledged_by}` : "Seen"}</Badge>;
  if (!isOpen(alarm)) return null;
  const acknowledge = async () => {
    setBusy(true);
    try {
      await api.post(`/api/telemetry/v1/alarms/${encodeURIComponent(alarm.id)}/acknowledge`, {});
      tell("Alarm acknowledged.");
      onDone();
    } catch (problem) {
      tell(problem.message, "bad");
    } finally {
      setBusy(false);
    }
  };
  return <Button class="button small" isBusy={isBusy} icon="check" onClick={acknowledge}>Acknowledge</Button>;
}
