// What everybody should know, whatever they look at.
import type { JSX } from 'preact'
import { bytes } from './format'
import { t } from './i18n'
import { useKnown } from './store'

export function Banners(): JSX.Element {
  const { problem, state, fleet } = useKnown()
  return (
    <div class="banners" role="status">
      {problem && (
        <p class="banner bad">{problem.kind === 'refused' ? t('refused', { text: problem.text }) : t('lost')}</p>
      )}
      {state?.disk?.low && <p class="banner bad">{t('disk_low', { free: bytes(state.disk.free) })}</p>}
      {fleet?.alerts.map((alert) => (
        <p class={alert.severity === 'critical' ? 'banner bad' : 'banner warn'} key={JSON.stringify(alert)}>
          {t('alert', { name: alert.alertname ?? '?', where: alert.host ?? alert.unit ?? alert.system ?? '' })}
        </p>
      ))}
    </div>
  )
}

const SETTINGS: Record<string, string> = {
  prometheus: 'DASHBOARD_PROMETHEUS', sensors: 'DASHBOARD_SENSORS', images: 'DASHBOARD_IMAGES', list: 'DASHBOARD_LIST',
  cpu: 'DASHBOARD_CPU', peers: 'DASHBOARD_PEERS', journals: 'DASHBOARD_JOURNAL_DIR',
}

// The banner of a part that cannot be shown; nothing for one that can.
export function PartBanner({ part, name }: { part: string; name: string }): JSX.Element | null {
  const { state } = useKnown()
  const found = state?.parts[part]
  if (found?.state === 'not configured') {
    return <p class="banner">{t('part_not_configured', { part: name, setting: SETTINGS[part] ?? '' })}</p>
  }
  if (found?.state === 'unavailable') {
    return <p class="banner warn">{t('part_unavailable', { part: name, reason: found.reason ?? '' })}</p>
  }
  return null
}

export function Dot({ kind }: { kind: string }): JSX.Element {
  return <span class={`dot ${kind}`} aria-hidden="true" />
}

export function State({ kind, children }: { kind: string; children: string }): JSX.Element {
  return <span class={`state ${kind}`}><Dot kind={kind} />{children}</span>
}
