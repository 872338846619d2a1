// The router of plain.c in Rust by the ABI alone: no C++ layer, no std, one exported symbol. Token choice:
// G = softmax(x W), each token takes its k largest gates; forward and backward through the host's ops, cost as those
// count it.
//
// T tokens, D width, E experts. saved: G [T, E], then the chosen experts [T, k]. The ABI itself is generated from
// core/abi by rust_abi.cmake. Rust's std would add an entry to .init_array, which rule R02 refuses; core does not.
#![no_std]
#![allow(non_camel_case_types, dead_code)]

use core::ffi::{c_char, c_void, CStr};
use core::mem::{size_of, zeroed};
use core::ptr::{null, null_mut};

include!(env!("SWITCHYARD_ABI_RS"));

#[link(name = "c")]
extern "C" {
    fn calloc(n: usize, size: usize) -> *mut c_void;
    fn free(p: *mut c_void);
    fn abort() -> !;
}
#[link(name = "m")]
extern "C" {
    fn sqrtf(x: f32) -> f32;
}
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    unsafe { abort() }
}

struct Instance {
    op: *const swy_ops,
    k: i64,
    n_sites: i32,
    gate: *mut swy_tensor_spec, // [n_sites]: what `needs` hands out has to last until destroy
}

// Rule R06: every failure says why.
unsafe fn fail(exec: *mut swy_exec, status: i32, reason: &CStr) -> i32 {
    if !(*exec).error.is_null() && (*exec).error_cap > 0 {
        let text = reason.to_bytes();
        let n = text.len().min((*exec).error_cap as usize - 1);
        core::ptr::copy_nonoverlapping(text.as_ptr().cast::<c_char>(), (*exec).error, n);
        *(*exec).error.add(n) = 0;
    }
    status
}

// Calls one op of the host's table; its failure, for which it has given the reason, ends the function.
macro_rules! op {
    ($table:expr, $name:ident, $($argument:expr),*) => {
        let status = ((*$table).$name.unwrap_unchecked())($($argument),*);
        if status != SWY_OK {
            return status;
        }
    };
}

unsafe extern "C" fn create(host: *const swy_host, options: *const swy_value, n_sites: i32, me: *mut *mut c_void,
                            exec: *mut swy_exec) -> i32 {
    let op = ((*host).extension.unwrap_unchecked())(host, c"swy.ops/1".as_ptr()).cast::<swy_ops>();
    if op.is_null() || (*op).version != SWY_OPS_VERSION {
        return fail(exec, SWY_UNSUPPORTED, c"the host does not offer this version of swy.ops/1");
    }
    let size = size_of::<Instance>() + n_sites as usize * size_of::<swy_tensor_spec>();
    let made = calloc(1, size).cast::<Instance>();
    if made.is_null() {
        return fail(exec, SWY_NO_SPACE, c"no memory for an instance");
    }
    *made = Instance { op, k: (*options).i, n_sites, gate: made.add(1).cast() };
    *me = made.cast();
    SWY_OK
}

unsafe extern "C" fn destroy(me: *mut c_void) {
    free(me)
}

unsafe fn check_site(me: *const Instance, site: *const swy_site, exec: *mut swy_exec) -> i32 {
    if (*site).site < 0 || (*site).site >= (*me).n_sites {
        return fail(exec, SWY_INVALID, c"a site beyond the number given to create");
    }
    if (*me).k > (*site).n_experts as i64 {
        return fail(exec, SWY_INVALID, c"k is larger than the number of experts");
    }
    SWY_OK
}

unsafe extern "C" fn needs(me: *mut c_void, site: *const swy_site, out: *mut swy_needs, exec: *mut swy_exec) -> i32 {
    let (me, site, out) = (me.cast::<Instance>(), &*site, &mut *out);
    let status = check_site(me, site, exec);
    if status != SWY_OK {
        return status;
    }
    let gate = (*me).gate.add(site.site as usize);
    *gate = zeroed();
    (*gate).name = c"gate".as_ptr();
    (*gate).shape = [site.d_model as i64, site.n_experts as i64, 1, 1];
    (*gate).rank = 2;
    (*gate).dtype = SWY_F32;
    (*gate).role = SWY_PARAM;
    (*gate).init = SWY_INIT_TRUNC_NORMAL;
    (*gate).init_scale = 1.0 / sqrtf(site.d_model as f32);
    (*gate).lr_scale = 1.0;
    let tokens = site.max_tokens as u64;
    let (gates, chosen) = (4 * tokens * site.n_experts as u64, 4 * tokens * (*me).k as u64);
    out.plan_kind = SWY_ASSIGN;
    out.row_kind = SWY_ROW_TOKEN;
    out.max_assign = site.max_tokens as i64 * (*me).k;
    out.saved = gates + chosen;
    out.scratch_forward = chosen;
    out.scratch_backward = chosen + 2 * gates;
    out.tensors = gate;
    out.n_tensors = 1;
    SWY_OK
}

// Both passes over t tokens, apart from where the memory is: `cost` runs them dry.
struct Size {
    t: i64,
    d: i64,
    e: i64,
    k: i64,
}

unsafe fn choose(op: *const swy_ops, exec: *const swy_exec, n: &Size, x: *const f32, w: *const f32, gate: *mut f32,
                 chosen: *mut i32, value: *mut f32) -> i32 {
    op!(op, gemm, exec, 0, 0, n.t, n.e, n.d, 1.0, x, w, 0.0, gate);
    op!(op, softmax_rows, exec, n.t, n.e, gate, gate);
    op!(op, top_k_rows, exec, n.t, n.e, n.k, gate, chosen, value);
    SWY_OK
}

unsafe fn push_back(op: *const swy_ops, exec: *const swy_exec, n: &Size, mask: *const u8, dweight: *const f32,
                    x: *const f32, w: *const f32, gate: *const f32, chosen: *const i32, scratch: *mut f32,
                    dw: *mut f32, dx: *mut f32) -> i32 {
    let dvalue = scratch;
    let dgate = dvalue.wrapping_add((n.t * n.k) as usize);
    let dlogit = dgate.wrapping_add((n.t * n.e) as usize);
    op!(op, fill, exec, n.t * (n.k + 2 * n.e), 0.0, scratch); // rule R09
    op!(op, assign_rows_backward, exec, n.t, n.k, chosen, null(), mask, 0, dweight, dvalue);
    op!(op, top_k_rows_backward, exec, n.t, n.e, n.k, chosen, dvalue, dgate);
    op!(op, softmax_rows_backward, exec, n.t, n.e, gate, dgate, dlogit);
    if !dw.is_null() {
        op!(op, gemm, exec, 1, 0, n.d, n.e, n.t, 1.0, x, dlogit, 1.0, dw); // beta = 1: rule R10
    }
    if !dx.is_null() {
        op!(op, gemm, exec, 0, 1, n.t, n.d, n.e, 1.0, dlogit, w, 1.0, dx);
    }
    SWY_OK
}

// Rule R17: what the host's ops count in a dry run, which touches no memory.
unsafe extern "C" fn cost(me: *mut c_void, site: *const swy_site, out: *mut swy_cost, exec: *mut swy_exec) -> i32 {
    let me = me.cast::<Instance>();
    let status = check_site(me, site, exec);
    if status != SWY_OK {
        return status;
    }
    let op = (*me).op;
    let n = Size { t: (*site).max_tokens as i64, d: (*site).d_model as i64, e: (*site).n_experts as i64, k: (*me).k };
    let mut dry: swy_exec = zeroed();
    let known = ((*exec).struct_size as usize).min(size_of::<swy_exec>()); // rule R24
    core::ptr::copy_nonoverlapping(exec.cast::<u8>(), core::ptr::addr_of_mut!(dry).cast::<u8>(), known);
    dry.struct_size = size_of::<swy_exec>() as u32;
    dry.flags |= SWY_EXEC_DRY as u32;
    let mut nothing = 0f32;
    let (mut flops, mut bytes) = ([0f64; 3], [0f64; 3]);
    op!(op, tally, &dry, &mut flops[0], &mut bytes[0]);
    // What is null in a step is null here: an op counts the arrays it is given.
    let status = choose(op, &dry, &n, null(), null(), null_mut(), null_mut(), &mut nothing);
    if status != SWY_OK {
        return status;
    }
    op!(op, assign_rows, &dry, n.t, n.k, null(), &nothing, null(), null(), 0, null_mut(), null_mut(), null_mut(),
        null_mut());
    op!(op, tally, &dry, &mut flops[1], &mut bytes[1]);
    let status = push_back(op, &dry, &n, null(), null(), null(), null(), null(), null(), &mut nothing, &mut nothing,
                           &mut nothing);
    if status != SWY_OK {
        return status;
    }
    op!(op, tally, &dry, &mut flops[2], &mut bytes[2]);
    (*out).flops_forward = flops[1] - flops[0];
    (*out).bytes_forward = bytes[1] - bytes[0];
    (*out).flops_backward = flops[2] - flops[1];
    (*out).bytes_backward = bytes[2] - bytes[1];
    SWY_OK
}

unsafe fn size_of_batch(me: *const Instance, batch: *const swy_batch) -> Size {
    Size { t: (*batch).x.shape[0], d: (*batch).x.shape[1], e: (*batch).n_experts as i64, k: (*me).k }
}

unsafe extern "C" fn forward(me: *mut c_void, exec: *mut swy_exec, batch: *const swy_batch, state: *const swy_state,
                             plan: *mut swy_plan) -> i32 {
    let me = me.cast::<Instance>();
    let n = size_of_batch(me, batch);
    let gate = (*exec).saved.cast::<f32>();
    let chosen = gate.add((n.t * n.e) as usize).cast::<i32>();
    let value = (*exec).scratch.cast::<f32>();
    let status = choose((*me).op, exec, &n, (*batch).x.data.cast(), (*(*state).param).data.cast(), gate, chosen, value);
    if status != SWY_OK {
        return status;
    }
    op!((*me).op, assign_rows, exec, n.t, n.k, chosen, value, null(), (*batch).mask, 0, (*plan).row, (*plan).expert,
        (*plan).weight, (*plan).count);
    SWY_OK
}

unsafe extern "C" fn backward(me: *mut c_void, exec: *mut swy_exec, batch: *const swy_batch, state: *const swy_state,
                              _: *const swy_plan, dplan: *const swy_plan_grad, dx: *const swy_tensor) -> i32 {
    let me = me.cast::<Instance>();
    let n = size_of_batch(me, batch);
    if (*dplan).weight.is_null() {
        return SWY_OK;
    }
    let gate = (*exec).saved.cast::<f32>();
    push_back((*me).op, exec, &n, (*batch).mask, (*dplan).weight, (*batch).x.data.cast(),
              (*(*state).param).data.cast(), gate, gate.add((n.t * n.e) as usize).cast(), (*exec).scratch.cast(),
              (*(*state).grad).data.cast(), (*dx).data.cast())
}

// The tables hold pointers to constants only, so every thread may read them.
struct Table<T>(T);
unsafe impl<T> Sync for Table<T> {}

static OPTIONS: Table<[swy_option; 1]> = Table([swy_option {
    name: c"k".as_ptr(),
    doc: c"experts per token".as_ptr(),
    choices: null(),
    type_: SWY_OPT_INT,
    reserved: 0,
    low: 1.0,
    high: 64.0,
    preset: swy_value { i: 1, f: 0.0, s: null() },
}]);
static ROUTER: Table<swy_router> = Table(swy_router {
    struct_size: size_of::<swy_router>() as u32,
    caps: (SWY_CAP_CPU | SWY_CAP_BACKWARD | SWY_CAP_BITWISE) as u32,
    data_access: SWY_DATA_NONE,
    reserved: 0,
    id: c"plain_rust".as_ptr(),
    name: c"Token choice in Rust".as_ptr(),
    version: c"1.0.0".as_ptr(),
    paper: c"Fedus et al. 2021, Switch Transformers".as_ptr(),
    options: OPTIONS.0.as_ptr(),
    n_options: 1,
    reserved2: 0,
    create: Some(create),
    destroy: Some(destroy),
    needs: Some(needs),
    cost: Some(cost),
    forward: Some(forward),
    backward: Some(backward),
    update: None,
    extension: None,
});
static ROUTERS: Table<[*const swy_router; 1]> = Table([&ROUTER.0]);
static FIELDS: Table<[swy_field; LAYOUT.len()]> = Table(LAYOUT);
static PLUGIN: Table<swy_plugin> = Table(swy_plugin {
    struct_size: size_of::<swy_plugin>() as u32,
    abi_major: SWY_ABI_MAJOR,
    abi_minor: SWY_ABI_MINOR,
    n_routers: 1,
    layout: FIELDS.0.as_ptr(),
    n_layout: LAYOUT.len() as u32,
    reserved: 0,
    build: c"Rust".as_ptr(),
    routers: ROUTERS.0.as_ptr(),
});

#[no_mangle]
pub extern "C" fn swy_plugin_v1() -> *const swy_plugin {
    &PLUGIN.0
}
