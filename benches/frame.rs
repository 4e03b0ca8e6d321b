//! Decoding and encoding frames.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wire::native::frame::{Frame, Kind, Reader, encode};

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for size in [16, 128, 1_024] {
        let mut bytes = Vec::new();
        while bytes.len() < 64 << 10 {
            encode(Kind::Publish, 0, b"bench.0", &vec![0x55; size], &mut bytes);
        }
        let count = bytes.len() / (8 + 7 + size);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("decode-{size}B"), |bencher| {
            bencher.iter(|| {
                let (mut at, mut frames) = (0, 0);
                while let Ok(Some(frame)) =
                    Frame::decode(black_box(&bytes[at..]), Reader::Client, 1 << 20)
                {
                    at += frame.encoded_len();
                    frames += 1;
                }
                assert_eq!(frames, count);
            });
        });
        let payload = vec![0x55; size];
        let mut out = Vec::with_capacity(bytes.len());
        group.bench_function(format!("encode-{size}B"), |bencher| {
            bencher.iter(|| {
                out.clear();
                for _ in 0..count {
                    encode(Kind::Publish, 0, black_box(b"bench.0"), &payload, &mut out);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
