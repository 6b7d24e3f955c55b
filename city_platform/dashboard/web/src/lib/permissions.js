// What a session may see. The server refuses the rest anyway; the pages do not offer it.

/** Which component an operation needs, where that component may be absent. */
const COMPONENT_OF = {
  import_manifest: "provisioning",
  issue_command: "control",
  read_command: "control",
  read_commands: "control",
  read_group_commands: "control",
  issue_group_command: "control",
  read_readings: "telemetry",
  read_alarms: "telemetry",
  list_alarms: "telemetry",
  acknowledge_alarm: "telemetry",
  search_audit: "audit",
  list_users: "identity",
};

/**
 * Whether an operation is to be offered.
 * @param {{operations: string[], has?: Record<string, boolean>} | null} session
 * @param {string} operation
 * @returns {boolean}
 */
export function may(session, operation) {
  if (!session?.operations.includes(operation)) return false;
  const component = COMPONENT_OF[operation];
  return component === undefined || session.has?.[component] !== false;
}

/** The pages of the menu: an operation of any of those opens it. */
export const MENU = [
  { page: "overview", label: "Overview", any: null },
  { page: "map", label: "Map", any: ["search_devices"] },
  { page: "alarms", label: "Alarms", any: ["read_alarms", "list_alarms"] },
  { page: "groups", label: "Group commands", any: ["issue_group_command", "read_group_commands"] },
  { page: "imports", label: "Imports", any: ["import_manifest"] },
  { page: "bridges", label: "Bridges", any: ["view_bridges", "read_bridges"] },
  { page: "audit", label: "Audit", any: ["search_audit"] },
  { page: "users", label: "Users", any: ["list_users"] },
];

/**
 * The menu of a session.
 * @param {object} session
 * @returns {{page: string, label: string}[]}
 */
export function menuOf(session) {
  return MENU.filter(({ any }) => any === null || any.some((one) => may(session, one)));
}
