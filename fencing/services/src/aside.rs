//! A question that the kernel may never answer, since it waits for a dead disk: on a thread of its own, which is left behind.

use std::{sync::Arc, thread, time::Duration};

use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

/// Who has asked, and may have left a thread behind: one at most. While that one waits nothing more is asked.
#[derive(Debug)]
pub(crate) struct Aside(Arc<Semaphore>);

impl Default for Aside {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Aside {
    /// `None`: there was no answer in this time, to this question or to the one before.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        within: Duration,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let answer = async {
            let turn = self.0.clone().acquire_owned().await.ok()?;
            let (to, answer) = oneshot::channel();
            // None of the runtime's: those are for all, and their number is limited.
            let begun = thread::Builder::new()
                .name("aside".to_owned())
                .spawn(move || {
                    let answer = question();
                    drop(turn);
                    let _ = to.send(answer);
                });
            begun.ok()?;
            answer.await.ok()
        };
        timeout(within, answer).await.ok()?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn a_question_without_an_answer_leaves_one_thread_behind_however_often_it_is_asked() {
        block_on(async {
            let (aside, asked) = (Aside::default(), Arc::new(AtomicUsize::new(0)));
            let (answer, disk) = mpsc::channel::<()>();
            let disk = Arc::new(std::sync::Mutex::new(disk));
            for _ in 0..10 {
                let (asked, disk) = (asked.clone(), disk.clone());
                let question = move || {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let _ = disk.lock().unwrap().recv();
                };
                assert_eq!(aside.ask(SHORT, question).await, None);
            }
            assert_eq!(asked.load(Ordering::SeqCst), 1);
            // Another one's questions do not wait for that.
            assert_eq!(Aside::default().ask(LONG, || 1).await, Some(1));
            answer.send(()).unwrap();
            assert_eq!(aside.ask(LONG, || 2).await, Some(2));
        });
    }

    #[test]
    fn nobody_waits_for_what_was_left_behind() {
        let (_never, disk) = mpsc::channel::<()>();
        let asked = block_on(async { Aside::default().ask(SHORT, move || disk.recv()).await });
        assert!(asked.is_none());
    }
}
