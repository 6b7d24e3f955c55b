// An address that is no page.

import { Link, PageHead } from "../ui/basics.jsx";
import { Empty } from "../ui/states.jsx";

export function MissingPage() {
  return (
    <>
      <PageHead title="There is no such page" />
      <Empty icon="search" title="Nothing is at this address">
        <Link class="button" to="/">Go to the overview</Link>
      </Empty>
    </>
  );
}
