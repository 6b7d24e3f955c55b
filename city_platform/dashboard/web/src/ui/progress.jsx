// How far something is: one bar, or one of several colours.

/** @param {{label: string, done: number, isWaiting?: boolean, parts?: [string, number][]}} props shares of one */
export function Progress({ label, done, isWaiting = false, parts }) {
  const percent = Math.round(100 * Math.min(1, done));
  const width = (share) => (element) => {
    if (element) element.style.width = `${100 * share}%`;
  };
  const waits = isWaiting ? {} : { "aria-valuenow": percent };
  return (
    <div class={`progress${isWaiting ? " is-waiting" : ""}`} role="progressbar" aria-label={label}
      aria-valuemin={0} aria-valuemax={100} {...waits}>
      {parts
        ? parts.map(([tone, share]) => <span key={tone} class={tone} ref={width(share)} />)
        : <span ref={isWaiting ? undefined : width(done)} />}
    </div>
  );
}
