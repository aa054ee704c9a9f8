import { useState } from 'preact/hooks'
import type { JSX } from 'preact'
import { login } from '../parts/api'
import { switchLanguage, t } from '../parts/i18n'
import { useKnown } from '../parts/store'

export function Login({ done }: { done: () => void }): JSX.Element {
  useKnown()
  const [error, setError] = useState('')
  const [busy, setBusy] = useState(false)
  const submit = async (event: SubmitEvent) => {
    event.preventDefault()
    const fields = new FormData(event.currentTarget as HTMLFormElement)
    setBusy(true)
    try {
      await login(String(fields.get('name')), String(fields.get('password')))
      done()
    } catch (reason) {
      setError((reason as Error).message)
    } finally {
      setBusy(false)
    }
  }
  return (
    <main class="login">
      <form class="panel" onSubmit={(event) => void submit(event as SubmitEvent)}>
        <h1><img src="/icon.svg" alt="" width="28" height="28" /> frota</h1>
        <p class="muted">{t('login_text')}</p>
        <label>{t('name')}<input name="name" autocomplete="username" required autofocus maxLength={64} /></label>
        <label>
          {t('password')}
          <input name="password" type="password" autocomplete="current-password" required maxLength={1024} />
        </label>
        <p class="error" role="alert">{error}</p>
        <button type="submit" disabled={busy}>{t('login')}</button>
        <button type="button" class="plain" onClick={switchLanguage} aria-label={t('language_label')}>
          {t('language')}
        </button>
      </form>
    </main>
  )
}
