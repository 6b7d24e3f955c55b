// The certificates of a device; who may provision can revoke one or issue another.

import { useState } from "preact/hooks";
import { useApp } from "../../context.js";
import { asWords, formatAge, formatTime } from "../../lib/format.js";
import { Badge, Button, Card, Field, Select } from "../../ui/basics.jsx";
import { Confirm } from "../../ui/dialog.jsx";
import { Empty } from "../../ui/states.jsx";

const TONES = { active: "good", superseded: "idle", revoked: "bad", expired: "warn" };
const REASONS = ["unspecified", "key_compromise", "superseded", "cessation_of_operation", "privilege_withdrawn"];

export function CertificatesCard({ page, onChange }) {
  const { api, tell } = useApp();
  const { certificates, may, device } = page;
  const [revoked, setRevoked] = useState(null);
  const [isRenewing, setRenewing] = useState(false);
  const renew = async () => {
    await api.post(`/api/provisioning/v1/devices/${encodeURIComponent(device.endpoint)}/certificate`, {});
    tell("A new certificate was issued. The device gets it with its next bootstrap.");
    onChange();
  };
  const actions = may.includes("replace_certificate") && (
    <Button class="button small" onClick={() => setRenewing(true)}>Issue another…</Button>
  );
  return (
    <Card title="Certificates" actions={actions}>
      {certificates.length === 0 && <Empty icon="key" title="It has no certificate" />}
      <ul class="list">
        {certificates.map((one) => (
          <li key={one.sha256}>
            <div>
              <span class="mono" title={one.sha256}>{one.sha256.slice(0, 16)}…</span>
              <span class="sub">{aboutOf(one)}</span>
            </div>
            <div class="row">
              <Badge tone={TONES[one.state]}>{asWords(one.state)}</Badge>
              {one.state === "active" && may.includes("revoke_certificate") && (
                <Button class="button small" onClick={() => setRevoked(one)}>Revoke…</Button>
              )}
            </div>
          </li>
        ))}
      </ul>
      {isRenewing && (
        <Confirm title="Issue another certificate?" label="Issue" tone="primary" onConfirm={renew} onClose={() => setRenewing(false)}>
          <p>The present one stays good until the device uses the new one.</p>
        </Confirm>
      )}
      {revoked && <Revoke certificate={revoked} onDone={onChange} onClose={() => setRevoked(null)} />}
    </Card>
  );
}

function aboutOf({ state, expires_at_us, since_us, reason }) {
  if (state !== "active" && since_us) {
    return `${formatTime(since_us)}${reason ? `, ${reason.replaceAll("_", " ")}` : ""}`;
  }
  const now = Date.now() * 1000;
  const issued = since_us ? `issued ${formatAge(since_us, now)}, ` : "";
  return `${issued}expires ${formatAge(expires_at_us, now)}`;
}

function Revoke({ certificate, onDone, onClose }) {
  const { api, tell } = useApp();
  const [reason, setReason] = useState(REASONS[0]);
  const revoke = async () => {
    await api.post(`/api/provisioning/v1/certificates/${certificate.sha256}/revoke`, { reason });
    tell("The certificate is revoked.");
    onDone();
  };
  return (
    <Confirm title="Revoke this certificate?" label="Revoke" onConfirm={revoke} onClose={onClose}>
      <p>The device is cut off from the broker and refused from now on, until it gets another certificate.</p>
      <Field label="Reason">
        {(field) => <Select {...field} value={reason} options={REASONS} onChange={setReason} />}
      </Field>
    </Confirm>
  );
}
