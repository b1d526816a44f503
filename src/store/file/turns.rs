//! How many threads may wait for the disk at the same time. One that hangs gets a few and no more; who then
//! gives up waiting for a turn leaves nothing behind that would be done later.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::store::StoreFault;

#[derive(Debug)]
pub struct Turns {
    free: Arc<Semaphore>,
    places: Semaphore,
    longest: Duration,
}

impl Turns {
    /// `at_once` threads for `most` callers, each of whom waits for its turn and its answer for `longest`.
    pub fn new(at_once: usize, most: usize, longest: Duration) -> Self {
        Self { free: Arc::new(Semaphore::new(at_once)), places: Semaphore::new(most), longest }
    }

    /// Do `work` on a thread where it may block. A fault at once if too many wait already.
    pub async fn take<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreFault> + Send + 'static,
    ) -> Result<T, StoreFault> {
        let _place = self.places.try_acquire().map_err(|_| StoreFault)?;
        let done = async {
            let turn = Arc::clone(&self.free).acquire_owned().await.map_err(|_| StoreFault)?;
            let work = move || {
                // Its thread is in use until then, whether or not anybody still waits.
                let _until_it_is_done = turn;
                work()
            };
            spawn_blocking(work).await.unwrap_or(Err(StoreFault))
        };
        timeout(self.longest, done).await.unwrap_or(Err(StoreFault))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::{Mutex, mpsc};

    use tokio::time::{Instant, advance};

    use super::*;

    const LONGEST: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_gets_few_threads_and_no_queue_for_later() {
        let turns = Turns::new(2, 4, LONGEST);
        let (recover, hung) = mpsc::channel::<()>();
        let (started, starts) = mpsc::channel();
        let disk = Arc::new(Mutex::new(hung));
        let work = || {
            let (disk, started) = (Arc::clone(&disk), started.clone());
            turns.take(move || {
                started.send(()).unwrap();
                // Until `recover` is dropped.
                let _ = disk.lock().unwrap().recv();
                Ok(())
            })
        };
        let mut waiting = pin!(async { tokio::join!(work(), work(), work(), work()) });
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("the disk hangs"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(starts.iter().take(2).count(), 2);
        let asked = Instant::now();

        assert_eq!(work().await, Err(StoreFault), "there is no place");
        assert_eq!(asked.elapsed(), Duration::ZERO);
        assert_eq!(turns.free.available_permits(), 0, "two threads hang");
        advance(LONGEST + Duration::from_millis(1)).await;
        let late = waiting.await;
        assert_eq!(turns.free.available_permits(), 0, "they still do");
        drop(recover);

        assert_eq!(late, (Err(StoreFault), Err(StoreFault), Err(StoreFault), Err(StoreFault)));
        assert_eq!(work().await, Ok(()), "it is back");
        assert_eq!(starts.try_iter().count(), 1, "two never had their turn");
    }
}
