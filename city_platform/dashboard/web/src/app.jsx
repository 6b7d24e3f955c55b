// The application: the session, the address, and which page is shown.

import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { AppContext } from "./context.js";
import { may } from "./lib/permissions.js";
import { readRoute } from "./lib/route.js";
import { createApi } from "./net/api.js";
import { City } from "./net/city.js";
import { AccountPage } from "./pages/account.jsx";
import { AlarmsPage } from "./pages/alarms.jsx";
import { AuditPage } from "./pages/audit.jsx";
import { BridgesPage } from "./pages/bridges.jsx";
import { DevicePage } from "./pages/device.jsx";
import { GroupCommandPage } from "./pages/group_command.jsx";
import { GroupCommandsPage } from "./pages/group_commands.jsx";
import { ImportPage } from "./pages/import_job.jsx";
import { ImportsPage } from "./pages/imports.jsx";
import { MapPage } from "./pages/map.jsx";
import { MissingPage } from "./pages/missing.jsx";
import { OverviewPage } from "./pages/overview.jsx";
import { SetUpPage } from "./pages/set_up.jsx";
import { SignInPage } from "./pages/sign_in.jsx";
import { UsersPage } from "./pages/users.jsx";
import { Failed, Loading } from "./ui/states.jsx";
import { Shell } from "./ui/shell.jsx";
import { useToasts } from "./ui/toasts.jsx";

const PAGES = {
  overview: OverviewPage, map: MapPage, device: DevicePage, alarms: AlarmsPage,
  groups: GroupCommandsPage, group: GroupCommandPage, audit: AuditPage, bridges: BridgesPage,
  imports: ImportsPage, import: ImportPage, users: UsersPage, account: AccountPage,
  missing: MissingPage,
};

/** The address as state; `navigate` changes it. */
function useRoute() {
  const read = () => ({ ...readRoute(location.pathname), search: location.search });
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const changed = () => setRoute(read());
    addEventListener("popstate", changed);
    return () => removeEventListener("popstate", changed);
  }, []);
  const navigate = useCallback((to, { replace = false } = {}) => {
    history[replace ? "replaceState" : "pushState"](null, "", to);
    setRoute(read());
    if (!replace) scrollTo(0, 0);
  }, []);
  return { route, navigate };
}

/** The session: null while asked for, false when there is none. */
function useSession() {
  const [session, setSession] = useState(null);
  const [problem, setProblem] = useState(null);
  const [hasEnded, setEnded] = useState(false);
  const api = useMemo(() => {
    const onSessionEnd = () => {
      setEnded(true);
      setSession(false);
    };
    return createApi({ fetch: (...given) => fetch(...given), onSessionEnd });
  }, []);
  const take = useCallback((given) => {
    api.useCsrf(given.csrf);
    setEnded(false);
    setSession(given);
  }, []);
  const ask = useCallback(async () => {
    setProblem(null);
    try {
      take(await api.get("/api/session", { isSignIn: true }));
    } catch (error) {
      if (error.status === 401) setSession(false);
      else setProblem(error);
    }
  }, []);
  useEffect(() => void ask(), []);
  const leave = useCallback((ended = false) => {
    setEnded(ended);
    setSession(false);
  }, []);
  return { api, session, problem, hasEnded, take, leave, ask };
}

export function App() {
  const { route, navigate } = useRoute();
  const { api, session, problem, hasEnded, take, leave, ask } = useSession();
  if (route.page === "set_up") {
    return <AppContext.Provider value={{ api, navigate }}><SetUpPage /></AppContext.Provider>;
  }
  if (problem) {
    return <main class="alone"><Failed problem={problem} again={ask} what="The session" /></main>;
  }
  if (session === null) return <main class="alone"><Loading rows={3} /></main>;
  if (session === false) return <SignInPage api={api} onSession={take} hasEnded={hasEnded} />;
  return (
    <SignedIn key={session.csrf} {...{ api, session, route, navigate, leave }} />
  );
}

function SignedIn({ api, session, route, navigate, leave }) {
  const { toasts, tell, drop } = useToasts();
  const city = useMemo(
    () => new City({
      api,
      openSource: (url) => new EventSource(url),
      schedule: (run) => (document.hidden ? setTimeout(run, 250) : requestAnimationFrame(run)),
    }),
    [],
  );
  useEffect(() => {
    const hasMap = may(session, "search_devices");
    city.start({ hasMap, isLive: hasMap || may(session, "follow_live"), onSignedOut: () => leave(true) });
    return () => city.stop();
  }, []);
  const Page = PAGES[route.page] ?? MissingPage;
  const app = { api, session, city, route, navigate, tell, leave };
  return (
    <AppContext.Provider value={app}>
      <Shell toasts={toasts} drop={drop}>
        <Page key={`${route.page}:${JSON.stringify(route.params)}`} {...route.params} />
      </Shell>
    </AppContext.Provider>
  );
}
