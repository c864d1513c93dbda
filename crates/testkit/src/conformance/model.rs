//! Random histories, run on a store and on the fake side by side: whatever is asked, both have to give the same answer.
//!
//! Histories are drawn from a seed, so a failure comes again. Compared is what the ports promise; what they leave open,
//! such as the numbers of fences or the words of a journal entry, is not.

mod history;
mod random;
mod sight;

use super::world::World;
use history::History;

/// How many chapters the history has; each ends with a long pause, a sweep and a look at everything.
const CHAPTERS: u64 = 40;
/// How many steps a chapter has.
const STEPS: usize = 50;

pub async fn the_store_does_as_the_fake_in_random_histories(world: &World) {
    let mut history = History::begin(world.store.clone()).await;
    for seed in 0..CHAPTERS {
        history.open_chapter(seed);
        for _ in 0..STEPS {
            history.step().await;
        }
        history.look_at_everything().await;
        history.close_chapter().await;
        history.look_at_everything().await;
    }
}
