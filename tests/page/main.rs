//! Proves that the monitor's page shows the broker's state in a real browser: rates, slow clients,
//! busy topics; by keyboard, on a phone, and when the broker stops.
//!
//! Needs Chromium, so these tests are run by name: `cargo test --test page -- --ignored`. With
//! `PAGE_SCREENSHOTS=DIRECTORY` they leave pictures there.

mod browser;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use browser::Browser;
use support::frame::{publish, subscribe};
use support::{Broker, Flood, Hub, NatsPeer, Peer};

const SETTINGS: [(&str, &str); 6] = [
    ("network.nats_port", "0"),
    ("monitor.address", "127.0.0.1:0"),
    ("monitor.topics", "orders.>"),
    ("limits.outbox_bytes", "2MiB"),
    ("limits.memory_bytes", "64MiB"),
    ("overflow.stall_timeout", "600"),
];

/// Publishes and receives until it is dropped, at varying rates.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(broker: &Broker) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let topics = [
            "orders.eu.created",
            "orders.us.created",
            "sensor.hall-4.température",
            "chat.\"quoted\\\"",
        ];
        let mut threads = Vec::new();
        for (place, topic) in topics.into_iter().enumerate() {
            let mut publisher =
                Peer::connect(broker.publishers).hello(format!("feed-{place}").as_bytes());
            let stop = Arc::clone(&stop);
            threads.push(thread::spawn(move || {
                let mut step = 0_u32;
                while !stop.load(Ordering::SeqCst) {
                    step += 1;
                    let wave = (f64::from(step) / 40.0 + place as f64).sin() + 1.3;
                    let count = (wave * f64::from(40 >> place)) as usize;
                    publisher.send(&publish(topic.as_bytes(), &[7; 180]).repeat(count));
                    thread::sleep(Duration::from_millis(50));
                }
            }));
        }
        for name in ["billing", "archive", "dashboard"] {
            let mut subscriber = Peer::connect(broker.subscribers).hello(name.as_bytes());
            subscriber.send(&[subscribe(b"orders.>", b""), subscribe(b"sensor.>", b"")].concat());
            let stop = Arc::clone(&stop);
            threads.push(thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    subscriber.next(Duration::from_millis(100));
                }
            }));
        }
        Load { stop, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn picture(browser: &mut Browser, name: &str) {
    if let Some(directory) = std::env::var_os("PAGE_SCREENSHOTS") {
        let path = std::path::Path::new(&directory).join(name);
        fs::write(path, browser.screenshot()).expect("the directory is there");
    }
}

/// The text of an element.
fn text(browser: &mut Browser, selector: &str) -> String {
    let value = browser.value(&format!("document.querySelector('{selector}').innerText"));
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
#[ignore = "needs Chromium: cargo test --test page -- --ignored"]
fn the_page_shows_rates_and_who_is_slow() {
    let broker = Broker::with(&SETTINGS);
    let mut browser = Browser::start();
    browser.show(1180, 1400, "light");
    browser.open(&format!("http://{}/", broker.monitor()));
    browser.wait_until("document.querySelector('#state').innerText === 'serving'");
    assert_eq!(text(&mut browser, "#no-connections"), "Nobody is connected.");
    picture(&mut browser, "empty.png");

    let load = Load::start(&broker);
    let _slow = broker.small_subscriber_of(b"bulk.>");
    let flooding = Peer::connect(broker.publishers).hello(b"nightly-export");
    let bulk = publish(b"bulk.rows", &[7; 10_000]).repeat(2_400);
    let flood = Flood::start(flooding.sender(), bulk);
    let first = "document.querySelector('#connections tbody tr')";
    browser.wait_until(&format!("{first}?.cells[1].innerText === 'slow: 1 publisher waits'"));
    let client = browser.value(&format!("{first}.cells[0].innerText"));
    assert!(client.as_str().is_some_and(|text| text.starts_with("stalled")), "{client}");
    browser.wait_until("document.body.innerText.includes('waits for stalled')");
    flood.wait_until_blocked();
    browser.wait_until("parseFloat(document.querySelector('#received').innerText) > 100");
    browser
        .wait_until("document.querySelector('#topics').innerText.includes('chat.\"quoted\\\\\"')");
    let line = "document.querySelector('#plot-messages path.one').getAttribute('d')";
    browser.wait_until(&format!("{line}.split('L').length > 3"));
    let mut client = NatsPeer::named(broker.nats(), "thermostat");
    client.send("SUB heating.* 1\r\nPUB sensor.hall-7.temp 4\r\n21.5\r\n");
    client.confirm();
    let rows = "[...document.querySelectorAll('#connections tbody tr')]";
    let row = format!("{rows}.find(row => row.innerText.includes('thermostat'))");
    browser.wait_until(&format!("{row}?.cells[7].innerText === 'nats'"));
    browser.wait_until(&format!("{row}?.cells[4].innerText === '1 in, 0 out'"));
    browser.wait_until("document.querySelector('#clients').innerText === '1'");
    assert_eq!(browser.complaints(), Vec::<serde_json::Value>::new());

    if std::env::var_os("PAGE_SCREENSHOTS").is_some() {
        thread::sleep(Duration::from_secs(45));
    }
    picture(&mut browser, "monitor.png");
    browser.show(1180, 1400, "dark");
    picture(&mut browser, "dark.png");
    browser.show(360, 780, "light");
    let wide = browser.value("document.documentElement.scrollWidth");
    assert_eq!(wide, 360, "the page is wider than a phone");
    browser.value("scrollTo(0, 0)");
    picture(&mut browser, "phone.png");
    browser.show(360, 3_000, "dark");
    picture(&mut browser, "phone-long.png");
    drop(load);
}

#[test]
#[ignore = "needs Chromium: cargo test --test page -- --ignored"]
fn the_page_obeys_the_keyboard_and_says_when_the_broker_is_gone() {
    let mut broker = Broker::with(&SETTINGS);
    let mut browser = Browser::start();
    browser.show(1180, 1400, "light");
    browser.open(&format!("http://{}/", broker.monitor()));
    browser.wait_until("document.querySelector('#state').innerText === 'serving'");
    browser.press("Tab", 9);
    assert_eq!(browser.value("document.activeElement.id"), "pause");
    let outline = browser.value("getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(outline, "solid", "the focus is not to be seen");
    browser.press("Enter", 13);
    assert_eq!(text(&mut browser, "#pause"), "Go on");
    browser.press("Enter", 13);
    assert_eq!(text(&mut browser, "#pause"), "Pause");
    assert_eq!(browser.complaints(), Vec::<serde_json::Value>::new());

    broker.signal("TERM");
    assert!(broker.wait().success());
    browser.wait_until("document.querySelector('#state').innerText === 'no answer'");
    let notice = text(&mut browser, "#notice");
    assert!(notice.starts_with("The broker does not answer. Last seen at "), "{notice}");
    picture(&mut browser, "gone.png");
}

#[test]
#[ignore = "needs Chromium: cargo test --test page -- --ignored"]
fn the_page_says_whether_the_link_is_up_where_there_is_one() {
    let mut hub = Hub::start();
    let servers = hub.address.to_string();
    let link = [("link.servers", servers.as_str()), ("link.reconnect_min", "0.05")];
    let broker = Broker::with(&[&SETTINGS[..], &link].concat());
    let joined = hub.accept();
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", broker.monitor()));
    browser.wait_until("document.querySelector('#link').innerText === 'up, 0'");
    hub.close();
    joined.cut();
    browser.wait_until("document.querySelector('#link').innerText.startsWith('down, ')");
    let without = Broker::with(&SETTINGS);
    browser.open(&format!("http://{}/", without.monitor()));
    browser.wait_until("document.querySelector('#state').innerText === 'serving'");
    assert_eq!(browser.value("document.querySelector('#link-figures').hidden"), true);
    assert_eq!(browser.complaints(), Vec::<serde_json::Value>::new());
}
