// The peers' servers as a graph: a dot for each worker, which moves when it is lent.
import type { JSX } from 'preact'
import { PartBanner, State } from '../parts/banners'
import { byName, milliseconds, number } from '../parts/format'
import { t } from '../parts/i18n'
import { useKnown } from '../parts/store'
import type { PeerServer } from '../types'

const WIDTH = 860
const PER_ROW = 10
const MAX_DOTS = 40 // of a server

interface Dot {
  key: string
  home: number // index of its own server
  at: number // index of the server where it is
  slot: number // its place there
  absent: boolean
}

export function PeersView(): JSX.Element {
  const { peers } = useKnown()
  const servers = [...(peers ?? [])].sort((a, b) => byName(a.address, b.address))
  return (
    <>
      <h1>{t('peers')}</h1>
      <PartBanner part="peers" name={t('peers')} />
      {servers.length > 0 && <Graph servers={servers} />}
      <div class="cards">{servers.map((server) => <Card key={server.address} server={server} />)}</div>
    </>
  )
}

// Workers at home, then those that are lent, at the servers that have borrowed some: the status counts them only.
export function place(servers: PeerServer[]): Dot[] {
  const room = servers.map((server) => server.workers?.borrowed ?? 0)
  const slots = servers.map(() => 0)
  const dots: Dot[] = []
  servers.forEach((server, home) => {
    const { own = 0, lent = 0, absent = 0 } = server.workers ?? {}
    for (let i = 0; i < Math.min(own, MAX_DOTS); i++) {
      const isLent = i >= own - lent - absent && i < own - absent
      const host = isLent ? room.findIndex((free, at) => free > 0 && at !== home) : home
      const at = host < 0 ? home : host
      if (isLent && host >= 0) room[host] = (room[host] ?? 0) - 1
      dots.push({ key: `${server.address} ${i}`, home, at, slot: slots[at]!++, absent: i >= own - absent })
    }
  })
  return dots
}

function Graph({ servers }: { servers: PeerServer[] }): JSX.Element {
  const dots = place(servers)
  const step = WIDTH / servers.length
  const box = Math.min(step - 24, 300)
  const left = (index: number) => (servers.length === 1 ? 2 : index * step + (step - box) / 2)
  const rows = Math.max(1, ...servers.map((_, at) => Math.ceil(dots.filter((dot) => dot.at === at).length / PER_ROW)))
  const height = 92 + rows * 22
  const text = servers.map(described).join('; ')
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={t('graph_label', { text })}>
      <svg class="graph" viewBox={`0 0 ${WIDTH} ${height}`} role="img" aria-label={t('graph_label', { text })}>
        {servers.slice(1).map((server, i) => (
          <path key={server.address} class={linked(servers, i) ? 'link' : 'link bad'}
            d={`M${left(i) + box} ${height / 2}H${left(i + 1)}`} />
        ))}
        {servers.map((server, index) => (
          <g key={server.address} transform={`translate(${left(index)} 8)`}>
            <rect class={server.error ? 'box bad' : server.saturated ? 'box hot' : 'box'} width={box} height={height - 16} rx="10" />
            <text x="14" y="24" class="title">{server.address}</text>
            <text x="14" y="43" class="word">{summary(server)}</text>
          </g>
        ))}
        {dots.map((dot) => (
          <circle key={dot.key} r="7" class={`worker of${dot.home % 6}${dot.absent ? ' absent' : dot.at !== dot.home ? ' away' : ''}`}
            style={{ transform: `translate(${left(dot.at) + 22 + (dot.slot % PER_ROW) * ((box - 30) / PER_ROW)}px, ${76 + Math.floor(dot.slot / PER_ROW) * 22}px)` }} />
        ))}
      </svg>
    </div>
  )
}

function linked(servers: PeerServer[], index: number): boolean {
  return !servers[index]?.error && !servers[index + 1]?.error && (servers[index]?.peers ?? []).every((peer) => peer.up)
}

function summary(server: PeerServer): string {
  if (server.error) return t('unavailable')
  return `${number(server.queue?.waiting ?? 0)} ${t('tasks_waiting')} · ${t(server.saturated ? 'saturated' : 'calm')}`
}

function described(server: PeerServer): string {
  const { own = 0, lent = 0, borrowed = 0 } = server.workers ?? {}
  return `${server.address}: ${own} ${t('own')}, ${lent} ${t('lent')}, ${borrowed} ${t('borrowed')}`
}

function Card({ server }: { server: PeerServer }): JSX.Element {
  const { queue, workers, tasks } = server
  return (
    <section class="panel" aria-label={server.address}>
      <div class="head">
        <h2>{server.address}</h2>
        <State kind={server.error ? 'bad' : server.saturated ? 'warn' : 'ok'}>
          {server.error ? t('unavailable') : t(server.saturated ? 'saturated' : 'calm')}
        </State>
      </div>
      {server.error && <p class="error">{server.error}</p>}
      {server.durable === false && <p class="warn">{t('not_durable')}</p>}
      {queue && workers && (
        <dl class="pairs">
          <dt>{t('tasks')}</dt>
          <dd>{number(queue.waiting)} {t('tasks_waiting')}, {number(queue.leased)} {t('tasks_leased')}, {number(queue.dead)} {t('tasks_dead')}, {number(tasks?.done ?? 0)} {t('tasks_done')}</dd>
          <dt>{t('queue')}</dt>
          <dd>{t('wait', { ms: milliseconds(queue.wait_ms) })}</dd>
          <dt>{t('workers')}</dt>
          <dd>{workers.own} {t('own')} ({workers.own_here} {t('own_here')}, {workers.lent} {t('lent')}, {workers.absent} {t('absent')}), {workers.borrowed} {t('borrowed')}; {workers.idle} {t('idle')}, {workers.busy} {t('busy')}</dd>
        </dl>
      )}
    </section>
  )
}
