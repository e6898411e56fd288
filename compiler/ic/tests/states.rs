//! State buffers and several entries, from graph to runs: caches that grow in place, recurrent state, hoisting.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod decoder;

use decoder::{DIM, HEADS, SOURCE, Shape, decoder, keys, recurrence, tensor};
use ic::import::ImportOptions;
use ic::pipeline::{self, Options, Source, StatePair};
use ic_codegen::Target;
use ic_codegen::cpu::CpuTarget;
use ic_ir::eval::eval_graph;
use ic_ir::{Graph, SymbolRange, text};
use ic_runtime::{Error, LoadOptions, Model, Session, Tensor};

/// Rows that the caches hold.
const CAPACITY: i64 = 10;

fn options(pairs: &[(&str, &str)], hoist: &[&str]) -> Options {
    let range = |min, max| SymbolRange { min, max };
    let ranges = [("past", range(0, CAPACITY)), ("batch", range(1, 2)), ("source", range(1, SOURCE as i64))];
    let ranges = ranges.into_iter().map(|(name, range)| (name.to_string(), range)).collect();
    let pair = |(input, output): &(&str, &str)| StatePair { input: input.to_string(), output: output.to_string() };
    Options {
        import: ImportOptions { ranges, dims_of_others: true, ..ImportOptions::default() },
        targets: vec![Target::Cpu(CpuTarget::host().unwrap())],
        states: pairs.iter().map(pair).collect(),
        hoist: hoist.iter().map(ToString::to_string).collect(),
        ..Options::default()
    }
}

#[expect(unsafe_code, reason = "the tests run artifacts that they have just compiled")]
fn compile(graphs: &[(&str, &Graph)], options: &Options) -> Model {
    let folder = tempfile::tempdir().unwrap();
    let mut sources = Vec::new();
    for (entry, graph) in graphs {
        let file = folder.path().join(format!("{entry}.ic"));
        std::fs::write(&file, text::print(graph)).unwrap();
        sources.push(Source { entry: entry.to_string(), file });
    }
    let artifact = folder.path().join("model.ica");
    // A dim that one entry has is given even where others do not have it.
    let package = pipeline::lower(&sources, options, &mut |_| {}, &mut |_, _| {}).unwrap_or_else(|e| panic!("{e}"));
    pipeline::write(&package, &artifact, options, &mut |_| {}).unwrap_or_else(|e| panic!("{e}"));
    let bytes = std::fs::read(&artifact).unwrap();
    // SAFETY: the artifact was written by the compiler under test a moment ago.
    unsafe { Model::from_bytes(&bytes, &LoadOptions::new()) }.unwrap()
}

fn session(model: &Model, entry: &str) -> Session {
    model.session_entry(entry, &ic_runtime::Options::new().threads(2)).unwrap()
}

/// One step: the decoder's output for these rows of `x`.
fn step(session: &Session, x: &Tensor, rows: std::ops::Range<usize>) -> Result<Tensor, Error> {
    let part = self::rows(x, rows);
    Ok(session.run(&[("x", part.view())])?["y"].clone())
}

/// Rows along axis 1.
fn rows(x: &Tensor, rows: std::ops::Range<usize>) -> Tensor {
    let (batch, all, inner) = (x.shape()[0], x.shape()[1], x.shape()[2..].iter().product::<usize>());
    let elements = x.elements::<f32>().unwrap();
    let part = (0..batch).flat_map(|b| &elements[(b * all + rows.start) * inner..(b * all + rows.end) * inner]);
    let shape = [&[batch, rows.len()], &x.shape()[2..]].concat();
    Tensor::from_elements(shape, part.copied().collect())
}

fn assert_close(found: &Tensor, expected: &Tensor) {
    assert_eq!(found.shape(), expected.shape());
    let pairs = found.elements::<f32>().unwrap().iter().zip(expected.elements::<f32>().unwrap());
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-4, "off by {worst}");
}

/// What the decoder gives for all rows at once, and the memory that it attends to.
fn reference(graph: &Graph, x: &Tensor, memory: &Tensor) -> Tensor {
    let empty = Tensor::zeros(x.dtype(), vec![x.shape()[0], HEADS, 0, DIM / HEADS]);
    let inputs: Vec<Tensor> = graph
        .inputs()
        .iter()
        .map(|&v| match graph.value(v).name.as_deref().unwrap() {
            "x" => x.clone(),
            "memory" => memory.clone(),
            _ => empty.clone(),
        })
        .collect();
    eval_graph(graph, &inputs, &Default::default()).unwrap().remove(0)
}

const CACHE: (&str, &str) = ("past_*", "present_*");

#[test]
fn a_cache_that_grows_in_place_gives_what_a_full_recompute_gives() {
    for batch in [1, 2] {
        let graph = decoder(Shape::default());
        let model = compile(&[("main", &graph)], &options(&[CACHE], &[]));
        let (x, memory) = (tensor(1, vec![batch, 9, DIM]), tensor(2, vec![batch, 1, DIM]));
        let expected = reference(&graph, &x, &memory);
        let session = session(&model, "main");
        let mut at = 0;
        for n in [3, 1, 1, 2, 1, 1] {
            assert_close(&step(&session, &x, at..at + n).unwrap(), &rows(&expected, at..at + n));
            at += n;
            assert_eq!(session.state_length("past_k").unwrap(), at);
        }
        assert_eq!(session.state_shape("past_v").unwrap().unwrap(), [batch, HEADS, 9, DIM / HEADS]);
        session.clear_states();
        assert_close(&step(&session, &x, 0..9).unwrap(), &expected);
    }
}

#[test]
fn a_full_cache_refuses_more_and_keeps_what_it_holds() {
    let graph = decoder(Shape::default());
    let model = compile(&[("main", &graph)], &options(&[CACHE], &[]));
    let (x, memory) = (tensor(1, vec![1, CAPACITY as usize + 1, DIM]), tensor(2, vec![1, 1, DIM]));
    let session = session(&model, "main");
    step(&session, &x, 0..8).unwrap();
    let refused = step(&session, &x, 8..11).unwrap_err().to_string();
    assert!(refused.contains("state `past_k` is full: it holds up to 10 on axis 2"), "{refused}");
    assert!(refused.contains("11"), "{refused}");
    let expected = reference(&graph, &rows(&x, 0..10), &memory);
    assert_close(&step(&session, &x, 8..10).unwrap(), &rows(&expected, 8..10));
    assert!(matches!(step(&session, &x, 10..11), Err(Error::Capacity { capacity: 10, needed: 11, .. })));
}

#[test]
fn sessions_are_independent_and_forks_go_on_from_where_they_were() {
    let graph = decoder(Shape::default());
    let model = compile(&[("main", &graph)], &options(&[CACHE], &[]));
    let memory = tensor(2, vec![1, 1, DIM]);
    let (x, z) = (tensor(1, vec![1, 6, DIM]), tensor(5, vec![1, 6, DIM]));
    let (first, second) = (session(&model, "main"), session(&model, "main"));
    let (of_x, of_z) = (reference(&graph, &x, &memory), reference(&graph, &z, &memory));
    step(&first, &x, 0..3).unwrap();
    step(&second, &z, 0..4).unwrap();
    let fork = first.fork().unwrap();
    for at in 3..6 {
        assert_close(&step(&first, &x, at..at + 1).unwrap(), &rows(&of_x, at..at + 1));
    }
    assert_close(&step(&second, &z, 4..6).unwrap(), &rows(&of_z, 4..6));
    assert_eq!((fork.state_length("past_k").unwrap(), first.state_length("past_k").unwrap()), (3, 6));
    assert_close(&step(&fork, &x, 3..6).unwrap(), &rows(&of_x, 3..6));
    // What a state holds can be taken from one session to another.
    let third = session(&model, "main");
    for name in ["past_k", "past_v"] {
        third.write_state(name, &rows_of_cache(&first.read_state(name).unwrap(), 5).view()).unwrap();
    }
    assert_close(&step(&third, &x, 5..6).unwrap(), &rows(&of_x, 5..6));
    let two = tensor(1, vec![2, 1, DIM]);
    let refused = step(&third, &two, 0..1).unwrap_err().to_string();
    assert!(refused.contains("state `past_k`: it holds [1, 2, 6, 4], this run takes [2, 2, 6, 4]"), "{refused}");
}

/// The first rows of a cache.
fn rows_of_cache(cache: &Tensor, n: usize) -> Tensor {
    let [batch, heads, all, inner] = *cache.shape() else { panic!("a cache has four axes") };
    let elements = cache.elements::<f32>().unwrap();
    let part = (0..batch * heads).flat_map(|i| &elements[i * all * inner..(i * all + n) * inner]);
    Tensor::from_elements(vec![batch, heads, n, inner], part.copied().collect())
}

#[test]
fn nothing_of_the_size_of_the_cache_is_copied() {
    let graph = decoder(Shape::default());
    let mut options = options(&[CACHE], &[]);
    options.import.ranges.insert("past".into(), SymbolRange { min: 0, max: 4096 });
    let model = compile(&[("main", &graph)], &options);
    let session = session(&model, "main");
    let (x, cache) = (tensor(1, vec![1, 1, DIM]), tensor(3, vec![1, HEADS, 4000, DIM / HEADS]));
    session.write_state("past_k", &cache.view()).unwrap();
    session.write_state("past_v", &cache.view()).unwrap();
    let arena = session.prepare(&[("x", x.view())]).unwrap();
    // Scores take as much as one element of each row of the cache, of which there are `DIM / HEADS`.
    assert!(arena < cache.len() * 4, "{arena} bytes of arena, {} of cache", cache.len() * 4);
    step(&session, &x, 0..1).unwrap();
    assert_eq!(session.state_length("past_v").unwrap(), 4001);
}

#[test]
fn what_depends_on_one_input_alone_runs_once() {
    let graph = decoder(Shape { cross: true, ..Shape::default() });
    let (x, memory) = (tensor(1, vec![2, 5, DIM]), tensor(2, vec![2, SOURCE, DIM]));
    let expected = reference(&graph, &x, &memory);
    let model = compile(&[("main", &graph)], &options(&[CACHE], &["memory"]));
    let names: Vec<&str> = model.entries().iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["main.memory", "main"]);
    let session = session(&model, "main");
    let early = step(&session, &x, 0..1).unwrap_err().to_string();
    assert!(early.contains("nothing has been written to it"), "{early}");
    let before = session.sibling("main.memory").unwrap();
    before.run(&[("memory", memory.view())]).unwrap();
    for at in 0..5 {
        assert_close(&step(&session, &x, at..at + 1).unwrap(), &rows(&expected, at..at + 1));
    }
    let longest = tensor(2, vec![2, SOURCE + 1, DIM]);
    assert!(before.run(&[("memory", longest.view())]).is_err());
}

#[test]
fn entries_pass_states_on() {
    // One entry computes what another attends to, one fills the cache that another appends to.
    let whole = decoder(Shape { cross: true, ..Shape::default() });
    let (prefill, steps) = (
        decoder(Shape { cross: true, given_keys: true, begins: true }),
        decoder(Shape { cross: true, given_keys: true, begins: false }),
    );
    let pairs = [CACHE, ("cross_*", "cross_*")];
    let model = compile(&[("keys", &keys()), ("prefill", &prefill), ("step", &steps)], &options(&pairs, &[]));
    let (x, memory) = (tensor(1, vec![1, 7, DIM]), tensor(2, vec![1, SOURCE, DIM]));
    let expected = reference(&whole, &x, &memory);
    let first = session(&model, "keys");
    first.run(&[("memory", memory.view())]).unwrap();
    assert_close(&step(&first.sibling("prefill").unwrap(), &x, 0..4).unwrap(), &rows(&expected, 0..4));
    let steps = first.sibling("step").unwrap();
    for at in 4..7 {
        assert_close(&step(&steps, &x, at..at + 1).unwrap(), &rows(&expected, at..at + 1));
    }
}

#[test]
fn a_state_that_an_entry_hands_on_unchanged_is_not_written() {
    let mut graph = decoder(Shape { cross: true, given_keys: true, begins: false });
    for name in ["cross_k", "cross_v"] {
        let input = *graph.inputs().iter().find(|&&v| graph.value(v).name.as_deref() == Some(name)).unwrap();
        graph.add_output(name.replace("cross", "kept"), input);
    }
    let model = compile(&[("main", &graph)], &options(&[CACHE, ("cross_*", "kept_*")], &[]));
    let states = &model.entries()[0].states;
    assert_eq!(states.iter().filter(|used| used.writes.is_none()).count(), 2);
    let session = session(&model, "main");
    let cross = tensor(4, vec![1, HEADS, SOURCE, DIM / HEADS]);
    session.write_state("cross_k", &cross.view()).unwrap();
    session.write_state("cross_v", &cross.view()).unwrap();
    step(&session, &tensor(1, vec![1, 2, DIM]), 0..2).unwrap();
    assert_eq!(session.read_state("cross_v").unwrap(), cross);
}

#[test]
fn a_state_may_be_replaced_as_a_whole() {
    let graph = recurrence();
    let model = compile(&[("main", &graph)], &options(&[("h", "h_next")], &[]));
    let session = session(&model, "main");
    let mut h = Tensor::zeros(ic_types::DType::F32, vec![2, DIM]);
    for seed in 0..4 {
        let x = tensor(seed, vec![2, DIM]);
        let [y, next] = eval_graph(&graph, &[x.clone(), h], &Default::default()).unwrap().try_into().unwrap();
        assert_close(&session.run(&[("x", x.view())]).unwrap()["y"], &y);
        assert_close(&session.read_state("h").unwrap(), &next);
        h = next;
    }
    session.clear_states();
    let x = tensor(0, vec![1, DIM]);
    let zeros = Tensor::zeros(ic_types::DType::F32, vec![1, DIM]);
    let expected = eval_graph(&graph, &[x.clone(), zeros], &Default::default()).unwrap();
    assert_close(&session.run(&[("x", x.view())]).unwrap()["y"], &expected[0]);
}
