/**
 * Whether what was answered, and not flushed where the data in use are, may be gone: then the next flush says so, once, as fsync(2)
 * does.
 *
 *     peer may lack   lost with a connection before the peer had flushed it, while a good disk here has it
 *     broken          the same, and the users follow the peer's copy: nobody can vouch for it
 *     at peer         broken as far as this engine knows: its users outlived another one, without a disk. The peer that was the only
 *                     copy says at the handshake whether it lost anything (Volume.onlyCopy)
 *
 * A successor of the engine is told of the first two: the disk here may be let go before it begins, and the peer has no mark of what
 * it had not flushed while it was not the only copy.
 */
export class FlushDoubt {
  readonly #tell: () => void;
  #peerMayLack = false;
  #broken = false;
  #atPeer = false;

  /** `tell`: what a successor must know has changed. */
  constructor(tell: () => void) {
    this.#tell = tell;
  }

  get peerMayLack(): boolean {
    return this.#peerMayLack;
  }

  /** And nobody is left to ask. */
  get broken(): boolean {
    return this.#broken && !this.#atPeer;
  }

  lackedByPeer(): void {
    this.#set(true, this.#broken, this.#atPeer);
  }

  breaks(): void {
    this.#set(this.#peerMayLack, true, this.#atPeer);
  }

  /** Both copies are the same. */
  peerHasAll(): void {
    this.#set(false, this.#broken, this.#atPeer);
  }

  /** The users of a Primary read the peer's copy from now on: the disk that has it all was let go while nobody was connected. */
  usersFollowPeer(): void {
    this.#set(false, this.#broken || this.#peerMayLack, this.#atPeer);
  }

  /**
   * The engine was restarted under its users, without good data here: what its predecessor answered may be in the peer's cache only.
   * `onlyThere`: the peer's copy has been the only one all the time, as far as is known.
   */
  unknown(onlyThere: boolean): void {
    const knows = this.#broken || this.#peerMayLack; // its predecessor did
    this.#set(this.#peerMayLack, true, onlyThere && !knows);
  }

  /** The peer has said of itself whether it lost anything. */
  peerSpoke(isWhole: boolean): void {
    if (this.#atPeer) this.#set(this.#peerMayLack, this.#broken && !isWhole, false);
  }

  /** A flush is answered: does it have to fail? */
  said(): boolean {
    const broken = this.#broken;
    this.#set(this.#peerMayLack, false, this.#atPeer);
    return broken;
  }

  #set(peerMayLack: boolean, broken: boolean, atPeer: boolean): void {
    const before = [this.peerMayLack, this.broken];
    this.#peerMayLack = peerMayLack;
    this.#broken = broken;
    this.#atPeer = atPeer;
    if (before[0] !== this.peerMayLack || before[1] !== this.broken) this.#tell();
  }
}
