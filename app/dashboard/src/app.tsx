// The frame of the page: who is logged in, where the user is, and the stream for what is shown there.
import { useEffect, useErrorBoundary, useState } from 'preact/hooks'
import type { JSX } from 'preact'
import { post, session, stream, type Wish } from './parts/api'
import { t, switchLanguage, type Key } from './parts/i18n'
import { Banners } from './parts/banners'
import { changed, known, receive, useKnown } from './parts/store'
import { CpuView } from './views/cpu'
import { ImagesView } from './views/images'
import { JournalView } from './views/journal'
import { ListView } from './views/list'
import { Login } from './views/login'
import { Overview } from './views/overview'
import { PeersView } from './views/peers'
import { SensorsView } from './views/sensors'
import { TraceView } from './views/trace'

export interface Place {
  view: string
  rest: string
  query: URLSearchParams
}

interface View {
  render: (place: Place) => JSX.Element
  topics: string[]
  filter?: (place: Place) => Record<string, string>
  icon: string
}

const RECORD_FILTERS = ['host', 'unit', 'priority', 'text']

const VIEWS: Record<string, View> = {
  overview: { render: () => <Overview />, topics: ['fleet', 'cpu'], icon: 'M3 3h7v7H3zM14 3h7v7h-7zM3 14h7v7H3zM14 14h7v7h-7z' },
  sensors: { render: () => <SensorsView />, topics: ['sensors'], icon: 'M3 17l5-6 4 3 5-8 4 5' },
  images: {
    render: (place) => <ImagesView trace={place.query.get('trace') ?? ''} />,
    topics: ['images', 'fleet', 'journal'],
    filter: (place) => ({ trace: place.query.get('trace') || '0'.repeat(32) }),
    icon: 'M3 5h18v14H3zM3 16l5-5 4 4 3-3 6 6',
  },
  list: { render: () => <ListView />, topics: ['list'], icon: 'M8 6h13M8 12h13M8 18h13M3.5 6h.01M3.5 12h.01M3.5 18h.01' },
  cpu: { render: () => <CpuView />, topics: ['cpu'], icon: 'M6 6h12v12H6zM9 1v4M15 1v4M9 19v4M15 19v4M1 9h4M1 15h4M19 9h4M19 15h4' },
  peers: { render: () => <PeersView />, topics: ['peers'], icon: 'M6 8a3 3 0 100-6 3 3 0 000 6zM18 22a3 3 0 100-6 3 3 0 000 6zM6 8v6a4 4 0 004 4h5' },
  journal: {
    render: (place) => <JournalView place={place} />,
    topics: ['journal', 'fleet'],
    filter: (place) => Object.fromEntries(RECORD_FILTERS.flatMap((name) => pair(name, place.query.get(name)))),
    icon: 'M4 4h16v16H4zM8 8h8M8 12h8M8 16h5',
  },
  trace: {
    render: (place) => <TraceView trace={place.rest} />,
    topics: ['journal'],
    filter: (place) => ({ trace: place.rest || '0'.repeat(32) }),
    icon: 'M5 4v16M5 8h8M5 14h13M5 19h5',
  },
}

function pair(name: string, value: string | null): [string, string][] {
  return value ? [[name, value]] : []
}

function placeOf(hash: string): Place {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?')
  const [view = '', rest = ''] = path.split('/')
  return { view: view in VIEWS ? view : 'overview', rest: decoded(rest), query: new URLSearchParams(query) }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function usePlace(): Place {
  const [hash, setHash] = useState(location.hash)
  useEffect(() => {
    const listener = () => setHash(location.hash)
    addEventListener('hashchange', listener)
    return () => removeEventListener('hashchange', listener)
  }, [])
  return placeOf(hash)
}

async function loadSession(): Promise<void> {
  try {
    known.session = await session()
    known.problem = null
  } catch {
    known.problem = { kind: 'lost', text: '' }
    setTimeout(() => void loadSession(), 2000)
  }
  changed()
}

function useStream(wish: Wish, on: boolean): void {
  const key = JSON.stringify(wish)
  useEffect(() => {
    if (!on) return
    known.records = []
    known.skipped = 0
    return stream(wish, {
      event: receive,
      connection: (problem) => {
        known.problem = problem
        if (problem?.kind === 'login') void loadSession()
        changed()
      },
    })
  }, [key, on])
}

export function App(): JSX.Element {
  const { session: who, problem } = useKnown()
  const place = usePlace()
  const view = VIEWS[place.view] as View
  useEffect(() => void loadSession(), [])
  useStream({ topics: view.topics, filter: view.filter?.(place) }, !!who && !who.login)
  useEffect(() => {
    document.title = `${t(place.view as Key)} · frota`
  })
  if (!who) return <div class="empty" role="status">{problem ? t('lost') : ''}</div>
  if (who.login) return <Login done={() => void loadSession().then(focusContent)} />
  return (
    <div class="frame">
      <a class="skip" href="#content" onClick={skip}>{t('skip')}</a>
      <Navigation current={place.view} />
      <main id="content" tabIndex={-1}>
        <Banners />
        <Contained key={place.view} view={view} place={place} />
      </main>
    </div>
  )
}

function skip(event: Event): void {
  event.preventDefault() // the hash is where the user is
  focusContent()
}

// The login form is gone: the keyboard goes on at the content.
function focusContent(): void {
  requestAnimationFrame(() => setTimeout(() => document.getElementById('content')?.focus()))
}

function Contained({ view, place }: { view: View; place: Place }): JSX.Element {
  const [error] = useErrorBoundary()
  return error ? <p class="banner bad" role="alert">{t('failed', { text: String(error) })}</p> : view.render(place)
}

function Navigation({ current }: { current: string }): JSX.Element {
  useEffect(() => document.querySelector('nav [aria-current]')?.scrollIntoView({ inline: 'center', block: 'nearest' }), [current])
  return (
    <header class="bar">
      <a class="brand" href="#/overview">
        <img src="/icon.svg" alt="" width="22" height="22" /> frota
      </a>
      <nav aria-label={t('navigation')}>
        {Object.entries(VIEWS).map(([name, { icon }]) => (
          <a key={name} href={`#/${name}`} aria-current={name === current ? 'page' : undefined}>
            <svg viewBox="0 0 24 24" aria-hidden="true"><path d={icon} /></svg>
            <span>{t(name as Key)}</span>
          </a>
        ))}
      </nav>
      <Who />
    </header>
  )
}

function Who(): JSX.Element {
  const { session: who, problem } = useKnown()
  const leave = async () => {
    await post('/api/logout', {}).catch(() => undefined)
    location.reload()
  }
  return (
    <div class="who">
      <span class={problem ? 'pill bad' : 'pill ok'}>{problem ? t('unavailable') : t('live')}</span>
      <span class="muted">
        {who?.accounts ? `${who.user}, ${t(who.role === 'operator' ? 'operator' : 'read_only')}` : t('no_accounts')}
      </span>
      <button type="button" class="plain" lang={t('language') === 'English' ? 'en' : 'pt-BR'}
        aria-label={t('language_label')} onClick={switchLanguage}>{t('language')}</button>
      {who?.accounts && <button type="button" class="plain" onClick={() => void leave()}>{t('logout')}</button>}
    </div>
  )
}
