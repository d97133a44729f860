//! The input: the feed as it was published, and one report that was cut short.

use convoke::prelude::*;

use super::QuakeReported;

/// The feed, oldest first.
pub(crate) fn feed(run: &str) -> Result<Vec<QuakeReported>, BoxError> {
    let feed: serde_json::Value = serde_json::from_str(include_str!("../data/usgs-all-week.geojson"))?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let read = |feature: &serde_json::Value| {
        let properties = &feature["properties"];
        let [net, kind, place] = ["net", "type", "place"].map(|name| text(&properties[name]));
        let (time, mag) = (properties["time"].as_i64().unwrap_or_default(), properties["mag"].as_f64());
        QuakeReported { run: run.to_owned(), id: text(&feature["id"]), net, kind, time, mag, place }
    };
    let mut quakes: Vec<_> = feed["features"].as_array().ok_or("the feed has no features")?.iter().map(read).collect();
    quakes.sort_by_key(|quake| quake.time);
    Ok(quakes)
}

/// The first half of a report, as if its producer had died while writing it.
pub(crate) fn cut_short(quake: &QuakeReported) -> Result<Message, BoxError> {
    let report = serde_json::to_string(quake)?;
    let message = Message::builder("quakes.reported").key(quake.net.clone()).header("run", quake.run.clone());
    Ok(message.payload(report[..report.len() / 2].to_owned()).build())
}

/// Publishes the feed, and in the middle of it a report that was cut short.
pub(crate) async fn publish(app: &AppHandle, quakes: &[QuakeReported]) -> Result<(), BoxError> {
    let (first, second) = quakes.split_at(quakes.len() / 2);
    for some in first.chunks(200) {
        app.publisher().publish_all(some).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    }
    app.publisher().publish_message(cut_short(&second[0])?).await?;
    for some in second.chunks(200) {
        app.publisher().publish_all(some).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    }
    Ok(())
}
