// One request over all hosts, as a timeline.
import { useEffect, useState } from 'preact/hooks'
import type { JSX } from 'preact'
import { PartBanner } from '../parts/banners'
import { get } from '../parts/api'
import { clock, milliseconds } from '../parts/format'
import { t } from '../parts/i18n'
import { useKnown } from '../parts/store'
import { kindOf } from './journal'
import type { JournalRecord } from '../types'

const VALID = /^[0-9a-f]{32}$/

export function TraceView({ trace }: { trace: string }): JSX.Element {
  const { records } = useKnown()
  const [found, setFound] = useState<JournalRecord[] | null>(null)
  const [error, setError] = useState('')
  const [typed, setTyped] = useState(trace)
  useEffect(() => {
    setFound(null)
    setError('')
    setTyped(trace)
    if (!VALID.test(trace)) return
    let current = true
    get<{ records: JournalRecord[] }>(`/api/trace/${trace}`).then(
      (answer) => current && setFound(answer.records),
      (reason) => current && setError(t('failed', { text: (reason as Error).message })),
    )
    return () => { current = false }
  }, [trace])
  const all = merged(found ?? [], of(trace, records))
  return (
    <>
      <h1>{t('trace')}</h1>
      <PartBanner part="journals" name={t('journal')} />
      <form class="row" onSubmit={(event) => { event.preventDefault(); location.hash = `#/trace/${typed.trim()}` }}>
        <label class="grow">{t('trace_id')}
          <input class="mono" value={typed} pattern="\s*[0-9a-f]{32}\s*" required onInput={(event) => setTyped(event.currentTarget.value)} />
        </label>
        <button type="submit">{t('show')}</button>
      </form>
      <p class="error" role="alert">{error}</p>
      {!trace && <p class="empty">{t('trace_hint')}</p>}
      {found && !all.length && <p class="empty">{t('no_trace')}</p>}
      {all.length > 0 && <section class="panel" aria-label={t('trace')}><Timeline records={all} /></section>}
    </>
  )
}

// The records of a trace among those of the last stream, which may have had another filter.
export function of(trace: string, records: JournalRecord[]): JournalRecord[] {
  return records.filter((record) => record.traces?.includes(trace))
}

// What was found, and what has arrived since.
function merged(found: JournalRecord[], live: JournalRecord[]): JournalRecord[] {
  const seen = new Set(found.map(identity))
  return [...found, ...live.filter((record) => !seen.has(identity(record)))].sort((a, b) => a.time - b.time)
}

function identity(record: JournalRecord): string {
  return `${record.time} ${record.host} ${record.unit} ${record.message}`
}

export function Timeline({ records }: { records: JournalRecord[] }): JSX.Element {
  const first = records[0]
  if (!first) return <p class="muted small">…</p>
  const sorted = [...records].sort((a, b) => a.time - b.time)
  const start = sorted[0]!.time
  const total = Math.max(sorted.at(-1)!.time - start, 0.001)
  const steps = sorted.map((record, i) => record.time - (sorted[i - 1]?.time ?? record.time))
  const slowest = steps.indexOf(Math.max(...steps))
  const hosts = new Set(sorted.map((record) => record.host)).size
  return (
    <>
      <p class="muted small">{t('trace_summary', { count: sorted.length, hosts, ms: milliseconds(total) })} · {clock(start, true)}</p>
      <ol class="timeline">
        {sorted.map((record, i) => (
          <li key={`${identity(record)} ${i}`} class={kindOf(record.priority)}>
            <span class="mono muted at">+{milliseconds(record.time - start)}</span>
            <svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
              <rect width="100" height="8" class="track" />
              <rect x={(100 * (record.time - steps[i]! - start)) / total} width={Math.max(1, (100 * steps[i]!) / total)} height="8"
                class={i === slowest && i > 0 ? 'fill hot' : 'fill'} />
            </svg>
            <span><b>{record.host}</b> {record.unit} {record.event && <code>{record.event}</code>} {record.message}
              {i === slowest && i > 0 && sorted.length > 2 && <em class="warn"> {t('slowest')}, {milliseconds(steps[i]!)}</em>}</span>
          </li>
        ))}
      </ol>
    </>
  )
}
