// The fleet as a whole: a panel for each system, in it the hosts, and on them the units.
import type { JSX } from 'preact'
import { Dot, PartBanner, State } from '../parts/banners'
import { byName, bytes, percent, span } from '../parts/format'
import { has, t } from '../parts/i18n'
import { useKnown } from '../parts/store'
import type { CpuHost, Unit } from '../types'

const ORDER = ['sensors', 'images', 'list', 'cpu', 'peers', 'rabbitmq', 'mariadb', 'observer', 'other']
const MINOR = new Set(['cpu', 'base', '']) // of units that many hosts have

interface Host {
  name: string
  units: [string, Unit][]
  cpu?: CpuHost
}

function hostsOf(fleet: ReturnType<typeof useKnown>['fleet'], cpus: CpuHost[]): Host[] {
  const names = new Set([...Object.keys(fleet?.hosts ?? {}), ...cpus.map((one) => one.host)])
  return [...names].sort(byName).map((name) => ({
    name,
    units: Object.entries(fleet?.hosts[name] ?? {}).sort(([a], [b]) => byName(a, b)),
    cpu: cpus.find((one) => one.host === name),
  }))
}

function systemOf(host: Host): string {
  const systems = host.units.map(([, unit]) => unit.system)
  const main = systems.find((system) => !MINOR.has(system) && ORDER.includes(system))
  return main ?? guess(host.name)
}

// Without Prometheus, the names of hosts tell most.
function guess(name: string): string {
  const words: [string, string][] = [
    ['sensor', 'sensors'], ['image', 'images'], ['list', 'list'], ['cpu', 'cpu'], ['peer', 'peers'],
    ['broker', 'rabbitmq'], ['database', 'mariadb'], ['observer', 'observer'],
  ]
  return words.find(([word]) => name.includes(word))?.[1] ?? 'other'
}

export function Overview(): JSX.Element {
  const { fleet, cpu, state } = useKnown()
  const hosts = hostsOf(fleet, cpu?.hosts ?? [])
  const systems = new Map<string, Host[]>()
  for (const host of hosts) {
    const system = systemOf(host)
    systems.set(system, [...(systems.get(system) ?? []), host])
  }
  return (
    <>
      <h1>{t('overview')}</h1>
      <PartBanner part="prometheus" name="Prometheus" />
      <Figures hosts={hosts} />
      {!hosts.length && state && <p class="empty">{t('no_hosts')} {t('no_hosts_hint')}</p>}
      <div class="systems">
        {ORDER.filter((system) => systems.has(system)).map((system) => (
          <System key={system} name={system} hosts={systems.get(system) ?? []} />
        ))}
      </div>
    </>
  )
}

function Figures({ hosts }: { hosts: Host[] }): JSX.Element {
  const { fleet, state } = useKnown()
  const units = hosts.flatMap((host) => host.units.map(([, unit]) => unit))
  const down = units.filter((unit) => unit.state === 'down').length
  const alerts = fleet?.alerts.length ?? 0
  return (
    <dl class="figures">
      <div><dt>{t('hosts')}</dt><dd>{hosts.length}</dd></div>
      <div>
        <dt>{t('units')}</dt>
        <dd>{units.length} {units.length > 0 && (
          <State kind={down ? 'bad' : 'ok'}>{down ? t('some_down', { count: down }) : t('all_up')}</State>
        )}</dd>
      </div>
      <div><dt>{t('alerts')}</dt><dd class={alerts ? 'bad' : ''}>{fleet ? alerts : '–'}</dd></div>
      {state?.disk && (
        <div>
          <dt>{t('of_journals')}</dt>
          <dd class={state.disk.low ? 'bad' : ''}>{bytes(state.disk.free)} <small>{t('free')}</small></dd>
        </div>
      )}
    </dl>
  )
}

function System({ name, hosts }: { name: string; hosts: Host[] }): JSX.Element {
  const key = `system_${name}`
  return (
    <section class="panel system" aria-label={has(key) ? t(key) : name}>
      <h2>{has(key) ? t(key) : name} <small class="muted">{hosts.length}</small></h2>
      <ul class="hosts">{hosts.map((host) => <HostCard key={host.name} host={host} />)}</ul>
    </section>
  )
}

function HostCard({ host }: { host: Host }): JSX.Element {
  const down = host.units.some(([, unit]) => unit.state === 'down')
  return (
    <li class={down ? 'host bad' : 'host'}>
      <div class="head">
        <a href={`#/journal?host=${encodeURIComponent(host.name)}`} title={t('records_of', { host: host.name })}>
          {host.name}
        </a>
        {host.cpu && <Load cpu={host.cpu} />}
      </div>
      <ul>{host.units.map(([unit, fields]) => <UnitLine key={unit} name={unit} unit={fields} />)}</ul>
    </li>
  )
}

function UnitLine({ name, unit }: { name: string; unit: Unit }): JSX.Element {
  const kind = unit.state === 'up' ? 'ok' : unit.state === 'down' ? 'bad' : 'idle'
  const details = [
    unit.since ? span(Date.now() / 1000 - unit.since) : '',
    unit.memory ? bytes(unit.memory) : '',
  ]
  return (
    <li class="unit" title={[name, unit.release].filter(Boolean).join(' ')}>
      <Dot kind={kind} />
      <span class="name">{name.replace(/^frota-/, '')}</span>
      <span class={`word ${kind}`}>{t(unit.state)}</span>
      <span class="muted details">{unit.state === 'up' ? details.filter(Boolean).join(' · ') : ''}</span>
    </li>
  )
}

export function Load({ cpu }: { cpu: CpuHost }): JSX.Element {
  if (cpu.state !== 'connected') return <span class="state warn"><Dot kind="warn" />{has(cpu.state) ? t(cpu.state) : cpu.state}</span>
  return (
    <span class="load" title="CPU">
      <svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
        <rect width="100" height="8" rx="4" class="track" />
        <rect width={Math.max(2, cpu.mean ?? 0)} height="8" rx="4" class={(cpu.mean ?? 0) >= 90 ? 'fill hot' : 'fill'} />
      </svg>
      <span>{percent(cpu.mean)}</span>
    </span>
  )
}
