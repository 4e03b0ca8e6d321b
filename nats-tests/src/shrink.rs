//! Makes a session that shows a difference smaller, as long as it still shows one. Knows nothing of
//! servers: a function says whether a session shows it.

use crate::session::{Action, Line, Session};

/// The smallest session found for which `shows` is true.
pub fn shrink(session: &Session, mut shows: impl FnMut(&Session) -> bool) -> Session {
    let mut best = session.clone();
    loop {
        let before = size(&best);
        steps(&mut best, &mut shows);
        lines(&mut best, &mut shows);
        words(&mut best, &mut shows);
        if size(&best) == before {
            return best;
        }
    }
}

type Shows<'a> = &'a mut dyn FnMut(&Session) -> bool;

/// Accepts this one if it shows the difference too.
fn attempt(best: &mut Session, changed: Session, shows: Shows) -> bool {
    let taken = shows(&changed);
    if taken {
        *best = changed;
    }
    taken
}

/// Without steps: many at a time, then fewer.
fn steps(best: &mut Session, shows: Shows) {
    let mut many = best.steps.len().div_ceil(2);
    while many > 0 {
        let mut at = 0;
        while at < best.steps.len() {
            let mut changed = best.clone();
            changed.steps.drain(at..(at + many).min(best.steps.len()));
            if !attempt(best, changed, shows) {
                at += many;
            }
        }
        many /= 2;
    }
}

/// Without some of the lines in each step, and without cuts.
fn lines(best: &mut Session, shows: Shows) {
    for step in 0..best.steps.len() {
        let mut at = 0;
        while at < best.steps[step].action.lines().len() {
            let mut changed = best.clone();
            changed.steps[step].action.lines_mut().map(|lines| lines.remove(at));
            if !attempt(best, changed, shows) {
                at += 1;
            }
        }
        let mut changed = best.clone();
        if let Action::Send { cut: cut @ Some(_), .. } = &mut changed.steps[step].action {
            *cut = None;
            attempt(best, changed, shows);
        }
    }
}

/// Lines in their plain form, and each CONNECT with fewer members.
fn words(best: &mut Session, shows: Shows) {
    for step in 0..best.steps.len() {
        for line in 0..best.steps[step].action.lines().len() {
            let old = best.steps[step].action.lines()[line].clone();
            if let Some(plain) = old.plain {
                let changed =
                    with_line(best, step, line, Line { bytes: plain, plain: None, ..old });
                attempt(best, changed, shows);
            } else if let Some(fields) = old.fields.clone() {
                for field in (0..fields.len()).rev() {
                    let mut line_now = best.steps[step].action.lines()[line].clone();
                    line_now.fields.as_mut().map(|fields| fields.remove(field));
                    let changed = with_line(best, step, line, line_now);
                    attempt(best, changed, shows);
                }
            }
        }
    }
}

fn with_line(session: &Session, step: usize, at: usize, line: Line) -> Session {
    let mut changed = session.clone();
    if let Some(lines) = changed.steps[step].action.lines_mut() {
        lines[at] = line;
    }
    changed
}

fn size(session: &Session) -> usize {
    let bytes = |line: &Line| 1 + line.sent().len();
    let step = |step: &crate::session::Step| {
        10 + step.action.lines().iter().map(bytes).sum::<usize>()
            + usize::from(matches!(step.action, Action::Send { cut: Some(_), .. }))
    };
    session.steps.iter().map(step).sum()
}
