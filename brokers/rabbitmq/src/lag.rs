//! How far a group is behind.

use convoke_core::broker::Lag;
use convoke_core::{Error, Topic};
use futures_util::future::try_join_all;

use crate::names;
use crate::shared::Shared;
use crate::topology::look;

impl Shared {
    /// The instance of a broadcast that reads over this connection under this name.
    fn instance_of(&self, group: &str) -> Option<String> {
        self.readers().iter().filter(|reader| reader.group == group).find_map(|reader| reader.instance.clone())
    }

    /// What waits in the group's queues, and what the server has sent ahead and nobody has asked for yet. What others have in hand
    /// AMQP does not tell.
    pub(crate) async fn lag(&self, group: &str, topics: &[Topic]) -> Result<Lag, Error> {
        let mut backlog = 0;
        let mut elsewhere = Vec::new();
        for topic in topics {
            let partitions = self.partitions(topic).await?;
            // What has no partition yet comes first: from there it comes to the others.
            let mut queues = vec![names::foreign_queue(topic.as_str())];
            match self.instance_of(group) {
                Some(instance) => queues.push(names::instance_queue(topic.as_str(), group, &instance)),
                None => queues.extend((0..partitions).map(|partition| names::queue(topic.as_str(), group, partition))),
            }
            for queue in queues {
                let asked = {
                    let readers = self.readers();
                    let of_group = readers.iter().filter(|reader| reader.group == group);
                    of_group.filter_map(|reader| reader.parts.upgrade()?.backlog(&queue)).next()
                };
                match asked {
                    Some(asked) => match asked.await {
                        Ok(count) => backlog += count,
                        Err(_) => elsewhere.push(queue),
                    },
                    None => elsewhere.push(queue),
                }
            }
        }
        let (_, channel) = self.channel().await?;
        let looked = try_join_all(elsewhere.iter().map(|queue| look(&channel, queue)));
        let queues = self.ask(&format!("say how far the group `{group}` is"), looked).await?;
        let _ = self.ask("close a channel", channel.close(200, "done".into())).await;
        backlog += queues.iter().map(|queue| u64::from(queue.message_count())).sum::<u64>();
        let mut lag = Lag::default();
        lag.backlog = Some(backlog);
        Ok(lag)
    }
}
